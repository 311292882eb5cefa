"""MLflow's pages, by clicks only: from what is served to the data, the parent and the statistics behind it."""

from __future__ import annotations

import pytest
from browser.clicks import TRAINING, at, follow, follow_text, shows, titled
from browser.study import DELETED, METHODS, SEEDS, python
from playwright.sync_api import expect

pytestmark = pytest.mark.browser


def test_the_served_model_leads_to_its_card_and_its_run(page, study, shoot):
    champion = study.store.champion()
    page.goto(f"{study.mlflow}/#/models?{TRAINING}")
    shows(page, "champion")
    shoot(page, "mlflow-01-registry")

    follow(page, "qunlearn-served")
    shows(page, "Served now", champion.digest)
    shoot(page, "mlflow-02-served-model")

    follow(page, f"Version {champion.version}")
    titled(page, f"Version {champion.version}")
    shows(page, "This version is the model", champion.digest)
    shoot(page, "mlflow-03-version")

    model = follow_text(page, "deletion-oeu")
    titled(model, "deletion-oeu")
    at(model, f"/models/{champion.model_id}")
    shows(model, champion.digest, f"{DELETED} images", "orthogonal entropy unlearning", "W4A4, edges W8A8")
    shows(
        model, "Measured by the deletion", "accuracy on the images to be forgotten", "is not part of the deletion flow"
    )
    shoot(model, "mlflow-04-deletion-card")

    cell = f"delete {DELETED} samples from version 1"
    run = follow_text(model, cell)
    titled(run, cell)
    at(run, f"/runs/{champion.run_id}")
    shows(run, "after_forget_accuracy")
    shoot(run, "mlflow-05-deletion-run")


def test_a_model_leads_to_verdict_data_parent_and_statistics(page, study, shoot):
    """From version 1 of the served model, which the pipeline made and evaluated."""
    made = study.model_of("oeu", 0)
    page.goto(f"{study.mlflow}/#/models/qunlearn-served?{TRAINING}")
    follow(page, "Version 1")
    titled(page, "Version 1")
    model = follow_text(page, study.name_of("oeu", 0))
    titled(model, study.name_of("oeu", 0))
    at(model, f"/models/{made.model_id}")
    verdict = study.summary("oeu")["verdict"]
    shows(model, made.digest, f"Verdict: {verdict}", "W4A4, edges W8A8", "Average gap to retraining")
    data = study.datasets(made.run_id)
    shows(model, f"digits (#{data['digits']})")
    shoot(model, "mlflow-06-card")

    assert len(data) == 2, f"the run read {data}, not the images and their split"
    for name, digest in data.items():
        read = follow_text(model, digest)
        stage = "split" if name.startswith("split") else "ingest"
        titled(read, stage)
        shoot(read, f"mlflow-07-{stage}")

    parent = follow_text(model, "original-seed0")
    titled(parent, "original-seed0")
    at(parent, f"/models/{study.model_of('original', 0).model_id}")
    shows(parent, study.model_of("original", 0).digest)
    shoot(parent, "mlflow-08-parent")

    figures = follow_text(model, "figures")
    at(figures, f"/runs/{made.run_id}/artifacts")
    figures.get_by_text("conflict.png", exact=True).first.click()
    drawn = figures.locator("img[src*='conflict.png'], img[src^='blob:'], [style*='blob:'], canvas").first
    expect(drawn, "the figure of conflicts is not drawn").to_be_visible()
    shoot(figures, "mlflow-09-statistics")

    name = study.pipeline_of(made.run_id)
    pipeline = follow_text(model, name)
    titled(pipeline, name)
    for method in METHODS:
        entry = pipeline.locator("p").get_by_text(method, exact=True).first
        expect(entry, f"the description hides the models of {method}").to_be_in_viewport()
    shoot(pipeline, "mlflow-10-pipeline")
    diagram = follow_text(pipeline, "Lineage diagram")
    shows(diagram, "lineage/lineage.svg")
    shoot(diagram, "mlflow-11-diagram")


def test_a_run_shows_the_digests_of_what_it_read(page, study, shoot):
    made = study.model_of("oeu", 0)
    page.goto(study.store.connection.run_url(made.run_id))
    name, digest = next(iter(study.datasets(made.run_id).items()))
    entry = page.get_by_text(f"{name} ({digest})").first
    expect(entry, f"the run does not list the data {name} ({digest})").to_be_visible()
    entry.click()
    shows(page, "2 datasets used", *study.datasets(made.run_id).values())
    shoot(page, "mlflow-12-run-data")


def test_the_address_that_is_printed_leads_to_each_model(page, study, shoot):
    page.goto(study.pages()["mlflow"])
    titled(page, "Models")
    for method in ("original", "retrain", *METHODS):
        for seed in SEEDS:
            link = page.locator(f"a[href*='{study.model_of(method, seed).model_id}']").first
            expect(link, f"the list has no link to {method}-seed{seed}").to_have_text(study.name_of(method, seed))
    shoot(page, "mlflow-13-models")

    made = study.model_of("qmul", 1)
    page.locator(f"a[href*='{made.model_id}']").first.click()
    titled(page, "qmul-seed1")
    shows(page, made.digest, "Average gap to retraining", "mia_confidence")
    parent = follow_text(page, "original-seed1")
    titled(parent, "original-seed1")
    at(parent, TRAINING)


def test_a_trial_that_lost_says_so_and_leads_to_its_search(page, study, shoot):
    names = {"oeu-seed0-trial1", "oeu-seed0-trial2"}
    (lost,) = names - {study.name_of("oeu", 0)}
    page.goto(study.pages()["mlflow"])
    follow(page, lost)
    titled(page, lost)
    shows(page, ": not chosen", "A trial that was not chosen")
    shoot(page, "mlflow-15-lost-trial")
    search = follow_text(page, "search oeu")
    titled(search, "search oeu")
    shows(search, "learning_rate=0.005", "learning_rate=0.01", "chosen")
    shoot(search, "mlflow-16-search")


def test_the_plain_name_means_the_model_that_was_evaluated(study):
    assert study.name_of("oeu", 0) != "oeu-seed0"
    assert study.model_of("oeu", 0).digest in python(study, "flows.cli", "lineage", "oeu-seed0")


def test_the_experiment_says_where_to_start(page, study, shoot):
    page.goto(f"{study.mlflow}/#/experiments/{study.store.connection.experiment_id}?{TRAINING}")
    models = follow_text(page, "All models")
    expect(models.get_by_role("link", name="oeu-seed1", exact=True).first, "no list of models").to_be_visible()
    shoot(page, "mlflow-14-experiment")
