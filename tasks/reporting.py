"""The report of the last evaluation, and its figures beside the runs they show."""

from __future__ import annotations

from typing import Any

from prefect import task
from prefect.cache_policies import NO_CACHE

from qunlearn.reporting.conflict import has_conflicts
from qunlearn.reporting.figures import gap_figure
from qunlearn.reporting.html import render
from qunlearn.reporting.table import markdown_table
from qunlearn.unlearning import methods
from tasks.files import read_json, write_text
from tasks.tracking import Run, Store
from tasks.workspace import Workspace


@task(name="report", cache_policy=NO_CACHE)
def write_report(workspace: Workspace, run: Run) -> None:
    """Write `report/index.html` and `report/table.md`, and attach both to the run."""
    evaluation = read_json(workspace.evaluation, made_by="evaluate")
    store = Store.open(workspace.params.tracking, root=workspace.root)
    write_text(workspace.report / "index.html", render(evaluation, steps=step_tables(store, evaluation)))
    write_text(workspace.report / "table.md", markdown_table(evaluation))
    run.file(workspace.report / "index.html", "report")
    run.file(workspace.report / "table.md", "report")
    run.figure("gap", gap_figure(evaluation))


def step_tables(store: Store, evaluation: dict[str, Any]) -> dict[tuple[str, int], dict[str, Any]]:
    """The per-step statistics of each cell that recorded gradient conflicts, by (method, seed)."""
    tables = {}
    for cell in evaluation["cells"]:
        if cell["method"] not in methods() or not methods()[cell["method"]].first_order:
            continue
        record = store.record_by_digest(cell["stats"]["sha256"], cell=f"{cell['method']} seed {cell['seed']}")
        columns = store.cell_table(record, "steps")
        if has_conflicts(columns):
            tables[cell["method"], cell["seed"]] = columns
    return tables
