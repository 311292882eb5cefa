"""Prefect's pages: the stages ran to their end, each shows its tasks, and the deletion has its schedule.

Prefect ships two sets of pages. `qunlearn up` shows the classic ones; the new ones ask a statistics service on the
internet.
"""

from __future__ import annotations

import re

import pytest
from browser.study import METHODS, SEEDS
from playwright.sync_api import Locator, Page, expect
from small_pipeline import STAGES

pytestmark = pytest.mark.browser

TASKS = {
    "ingest": ["ingest"],
    "pretrain": [f"original seed {seed}" for seed in SEEDS],
    "retrain": [f"retrain seed {seed}" for seed in SEEDS],
    "unlearn": [f"{method} seed {seed}" for method in METHODS for seed in SEEDS],
    "evaluate": [f"{method}/{seed}" for method in ("original", "retrain", *METHODS) for seed in SEEDS],
}
"""Names of task runs by stage; Prefect adds random letters to that of `ingest`."""


def run_of(page: Page, flow: str) -> Locator:
    """The entry of this flow's run in the list of runs."""
    entries = page.locator(".state-list-item")
    return entries.filter(has=page.get_by_role("link", name=flow, exact=True)).first


def test_the_dashboard_counts_the_runs_and_none_has_failed(page, study, shoot):
    page.goto(study.pages()["prefect"])
    expect(page.get_by_text("0 failed or crashed runs"), "the dashboard tells of failed runs").to_be_visible()
    expect(page, "these are not the classic pages").to_have_url(f"{study.prefect}/dashboard")
    shoot(page, "prefect-1-dashboard")


def test_all_seven_stages_are_listed_as_completed(page, study, shoot):
    page.goto(f"{study.prefect}/runs")
    for flow in (*STAGES, "deletion"):
        expect(run_of(page, flow), f"no run of the flow {flow!r} is listed").to_be_visible()
        expect(run_of(page, flow), f"the run of {flow!r} is not completed").to_contain_text("Completed")
        named = re.compile(rf"{flow} \d{{4}}-\d\d-\d\d \d\d:\d\d UTC")
        expect(run_of(page, flow), f"the run of {flow!r} has no telling name").to_contain_text(named)
    shoot(page, "prefect-2-runs")


@pytest.mark.parametrize("stage", TASKS)
def test_a_stage_shows_its_tasks(page, study, shoot, stage):
    page.goto(f"{study.prefect}/runs")
    run_of(page, stage).locator(".flow-run-bread-crumbs__flow-run-link").click()
    page.get_by_text("Task Runs", exact=True).click()
    tasks = page.locator(".state-list-item")
    for name in TASKS[stage]:
        shown = tasks.filter(has=page.get_by_role("link", name=name))
        expect(shown.first, f"{stage} shows no task {name!r}").to_be_visible()
        expect(shown.first, f"{stage}: the task {name!r} is not completed").to_contain_text("Completed")
    shoot(page, f"prefect-3-{stage}")


def test_the_deletion_is_deployed_with_its_schedule(page, study, shoot):
    page.goto(f"{study.prefect}/deployments")
    # The first link is the deployment's, the second its flow's.
    page.get_by_role("link", name="deletion", exact=True).first.click()
    expect(page.get_by_text("flows.deletion.deletion"), "the page does not name the flow's place").to_be_visible()
    expect(page.get_by_text("At 03:00 AM every day").first, "the page shows no daily schedule").to_be_visible()
    expect(page.get_by_text("Ready", exact=True).first, "the deployment is not served").to_be_visible()
    shoot(page, "prefect-4-deployment")
