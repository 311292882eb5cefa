"""A completed deletion: request, run, model and evidence, from Prefect's pages or from MLflow's, by clicks only."""

from __future__ import annotations

import pytest
from browser.clicks import TRAINING, at, follow, follow_text, shows, titled
from browser.study import DELETED
from playwright.sync_api import FrameLocator, Page, expect

pytestmark = pytest.mark.browser

HEADLINE = "The samples were erased, and the served model was replaced by one that was made to forget them"
CELL = f"delete {DELETED} samples from version 1"


def evidence_in(page: Page) -> FrameLocator:
    """MLflow shows a page that a run has kept within a frame."""
    return page.frame_locator("iframe").first


def opened(page: Page, name: str) -> Page:
    """Another tab with what a link in Prefect's description leads to, as a click with the middle button opens it."""
    link = page.get_by_role("link", name=name, exact=True).first
    expect(link, f"{page.url} has no link {name!r}").to_be_visible()
    other = page.context.new_page()
    other.goto(str(link.get_attribute("href")))
    return other


def test_from_a_flow_run_in_prefect_to_request_model_run_and_evidence(page, study, shoot):
    request, champion = study.request(), study.store.champion()
    page.goto(study.pages()["prefect"])
    page.get_by_role("button", name="Runs", exact=True).click()
    entry = page.locator(".state-list-item").filter(has=page.get_by_role("link", name="deletion", exact=True)).last
    entry.locator(".flow-run-bread-crumbs__flow-run-link").click()
    page.get_by_text("Artifacts", exact=True).last.click()
    shows(page, "overdue-requests", "No request is overdue on ")
    shoot(page, "deletion-1-flow-run")

    page.get_by_role("link", name=f"evidence-{request}").first.click()
    shows(page, f"Deletion request {request}: unlearned", HEADLINE, "What this does not prove")
    shoot(page, "deletion-2-artifact")

    version = opened(page, f"version {champion.version} of qunlearn-served")
    titled(version, f"Version {champion.version}")
    shows(version, champion.digest)
    model = opened(page, "model deletion-oeu")
    titled(model, "deletion-oeu")
    at(model, f"/models/{champion.model_id}")
    run = opened(page, f"run {CELL}")
    titled(run, CELL)
    at(run, f"/runs/{champion.run_id}")
    document = opened(page, "evidence as a page")
    expect(evidence_in(document).get_by_role("heading", name=HEADLINE)).to_be_visible()
    expect(evidence_in(document).get_by_text(request).first).to_be_visible()
    shoot(document, "deletion-3-evidence")


def test_from_the_served_version_in_mlflow_to_request_model_run_evidence_and_flow_run(page, study, shoot):
    request, champion = study.request(), study.store.champion()
    page.goto(f"{study.mlflow}/#/models/qunlearn-served?{TRAINING}")
    follow(page, f"Version {champion.version}")
    titled(page, f"Version {champion.version}")
    shoot(page, "deletion-4-version")
    document = follow_text(page, request)
    expect(evidence_in(document).get_by_role("heading", name=HEADLINE)).to_be_visible()

    model = follow_text(page, "deletion-oeu")
    titled(model, "deletion-oeu")
    run = follow_text(model, CELL)
    titled(run, CELL)
    shows(run, "Evidence of deletion requests")
    shoot(run, "deletion-5-run")
    again = follow_text(run, request)
    expect(evidence_in(again).get_by_role("heading", name=HEADLINE)).to_be_visible()
    flow = follow_text(run, "a flow run in Prefect")
    shows(flow, "Beginning flow run 'deletion ", f"batch {study.batch()}: 1 request")
    shoot(flow, "deletion-6-flow-run-log")


def test_three_deployments_are_served_and_the_form_of_a_request_explains_itself(page, study, shoot):
    page.goto(study.pages()["deletion"])
    for name in ("deletion", "refresh-benchmark", "submit-request"):
        row = page.get_by_role("row").filter(has=page.get_by_role("link", name=name, exact=True)).first
        expect(row, f"{name} is not served").to_contain_text("Ready")
    shoot(page, "deletion-7-deployments")
    page.get_by_role("link", name="submit-request", exact=True).first.click()
    page.get_by_role("button", name="Run", exact=True).click()
    page.get_by_text("Custom run").first.click()
    for name in ("samples", "class_name", "subject_hash", "reference_hash", "due"):
        shows(page, f"{name} (Optional)")
    shows(page, "Ids of samples, as in data/prepared/ids.txt.", "one calendar month from now if left empty")
    page.set_viewport_size({"width": 1440, "height": 1300})
    shoot(page, "deletion-8-form")


def test_the_form_of_a_request_refuses_a_person(page, study, shoot):
    page.goto(study.pages()["deletion"])
    page.get_by_role("link", name="submit-request", exact=True).first.click()
    page.get_by_role("button", name="Run", exact=True).click()
    page.get_by_text("Custom run").first.click()
    page.get_by_role("textbox").nth(2).fill("Jane Doe")
    page.set_viewport_size({"width": 1440, "height": 1300})
    page.get_by_role("button", name="Submit", exact=True).click()
    shows(page, "does not match")
    shoot(page, "deletion-9-refused")
