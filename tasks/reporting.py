"""The report of the last evaluation: a page, a Markdown text, and every figure as a picture and as a table."""

from __future__ import annotations

from prefect import task
from prefect.cache_policies import NO_CACHE

from qunlearn.reporting.figures import FIGURES, png
from qunlearn.reporting.html import render
from qunlearn.reporting.markdown import markdown_report
from qunlearn.reporting.series import csv_text
from qunlearn.reporting.table import markdown_table
from tasks.files import read_json, write_text
from tasks.tracking import Run
from tasks.workspace import Workspace

HEADLINES = ("gap", "trade_off")
"""Figures that the pipeline's own run shows, too."""


@task(name="report", cache_policy=NO_CACHE)
def write_report(workspace: Workspace, run: Run, pipeline: Run) -> None:
    """Write `report/`, from `metrics/evaluation.json` alone, and attach it to the stage's run.

    The same evaluation gives the same bytes. Files are `index.html`, `report.md`, `table.md`, and for each figure
    `plots/<figure>.png` and its table `plots/<figure>.csv`.

    Args:
        workspace: where the evaluation is, and the report goes.
        run: of the stage.
        pipeline: gets the most important figures.
    """
    evaluation = read_json(workspace.evaluation, made_by="evaluate")
    folder, plots = workspace.report, workspace.report / "plots"
    texts = {"index.html": render, "report.md": markdown_report, "table.md": markdown_table}
    for name, made in texts.items():
        write_text(folder / name, made(evaluation))
        run.file(folder / name, "report")
    plots.mkdir(exist_ok=True)
    for name, draw in FIGURES.items():
        write_text(plots / f"{name}.csv", csv_text(name, evaluation))
        (plots / f"{name}.png").write_bytes(png(draw, evaluation))
    run.file(plots, "report")
    for name in HEADLINES:
        pipeline.file(plots / f"{name}.png", "figures")
