"""The stage `report`: files that belong together, the same bytes every time, and the same figures in MLflow."""

from __future__ import annotations

import csv
import json
import re
from pathlib import Path
from typing import Any

import pytest

from qunlearn.config import TrackingConfig
from qunlearn.reporting.series import SERIES
from tasks.reporting import HEADLINES, write_report
from tasks.tracking import Store
from tasks.workspace import Workspace

FILES = {"index.html", "report.md", "table.md"} | {f"plots/{n}.{end}" for n in SERIES for end in ("png", "csv")}


class Recorder:
    """Takes the place of a run: knows which files it was given."""

    def __init__(self) -> None:
        self.files: list[tuple[str, str]] = []

    def file(self, local: Path, folder: str) -> None:
        self.files.append((local.name, folder))


def contents(report: Path) -> dict[str, bytes]:
    return {str(path.relative_to(report)): path.read_bytes() for path in report.rglob("*") if path.is_file()}


def report_run(store: Store) -> Any:
    """The first one: other tests let later, failing stages write to the same database."""
    return next(store.connection.runs("tags.kind = 'stage' and tags.stage = 'report'", newest_first=False))


def artifacts(store: Store, run_id: str, folder: str) -> set[str]:
    return {entry.path for entry in store.connection.client.list_artifacts(run_id, folder)}


def test_report_holds_the_page_the_text_and_every_figure_with_its_table(finished):
    assert set(contents(finished / "report")) == FILES


def test_links_of_the_text_lead_to_files(finished):
    links = re.findall(r"\]\((.+?)\)", (finished / "report" / "report.md").read_text())

    assert "plots/gap.png" in links
    assert all((finished / "report" / link).is_file() for link in links)


def test_tables_hold_the_numbers_of_the_evaluation(finished):
    evaluation = json.loads((finished / "metrics" / "evaluation.json").read_text())
    with (finished / "report" / "plots" / "gap.csv").open(newline="") as file:
        written = {row["method"]: float(row["average_gap"]) for row in csv.DictReader(file)}

    assert written == {
        row["method"]: row["mean"]["average_gap"] for row in evaluation["summary"] if row["method"] != "retrain"
    }


def test_evaluation_alone_gives_the_same_bytes_again(finished, tmp_path):
    """Neither the database nor the models are there."""
    for name in ("params.yaml", "metrics/evaluation.json"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes((finished / name).read_bytes())
    run, pipeline = Recorder(), Recorder()

    write_report.fn(Workspace.open(tmp_path / "params.yaml"), run, pipeline)

    assert contents(tmp_path / "report") == contents(finished / "report")
    assert not list(tmp_path.glob("mlflow*"))
    assert {name for name, _ in run.files} == {"index.html", "report.md", "table.md", "plots"}
    assert pipeline.files == [(f"{name}.png", "figures") for name in HEADLINES]


@pytest.mark.parametrize("name", SERIES)
def test_every_figure_is_an_artifact_of_the_reports_run(finished, name):
    store = Store.open(TrackingConfig(), root=finished)
    run = report_run(store)

    assert {f"report/plots/{name}.png", f"report/plots/{name}.csv"} <= artifacts(store, run.info.run_id, "report/plots")


def test_the_pipelines_run_shows_the_headlines(finished):
    store = Store.open(TrackingConfig(), root=finished)
    run = report_run(store)
    parent = run.data.tags["mlflow.parentRunId"]

    assert {f"figures/{name}.png" for name in HEADLINES} <= artifacts(store, parent, "figures")
