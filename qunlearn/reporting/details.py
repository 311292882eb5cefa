"""The further figures: one table a group of the catalogue of metrics, and the glossary."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from qunlearn.evaluation.catalogue import CATALOGUE, Metric
from qunlearn.reporting.content import COLUMNS, deviation
from qunlearn.reporting.source import DASH, MINUS, Phrase, pieces, plain
from qunlearn.reporting.study import Model, Study

SPECS = {
    "percent": ".2f", "share": ".3f", "nats": ".3f", "points": ".2f", "ratio": ".3f", "steps": ".1f", "MB": ".0f",
    "count": ",.0f",
}  # fmt: skip
"""How a mean over seeds is printed, by unit."""
UNITS = {"percent": "%", "share": "", "nats": "nats", "points": "points", "ratio": "", "steps": "steps", "MB": "MB"}
SIGNS = ("±", MINUS)
"""Wider than a digit."""
INTERVALS = ("_low", "_high")
TITLES = {
    "accuracy": "Further accuracies",
    "entanglement": "Further accuracies",
    "membership": "Membership, further attacks",
    "drift": "Drift and cost",
    "cost": "Drift and cost",
}
"""Headings of the groups that are not named after themselves; small groups share a table."""


@dataclass(frozen=True)
class Table:
    """Metrics of one group and, by model, (number, deviation or interval) for each."""

    title: str
    metrics: Sequence[Metric]
    rows: Sequence[tuple[Model, Sequence[tuple[Phrase, Phrase]]]]

    @property
    def widths(self) -> list[float]:
        """Of each metric, the width of its longest deviation or interval, in digits: all of them take as much."""
        columns = zip(*(cells for _, cells in self.rows), strict=True)
        return [max(_width(plain(spread)) for _, spread in column) for column in columns]


def detail_tables(study: Study) -> list[Table]:
    """The metrics that some model has and the main table has not, in the catalogue's groups and order."""
    present = {name for model in study.models for name in model.row["mean"]}
    shown = {column.key for column in COLUMNS} - {"mia_confidence"}  # beside the other attacks it belongs here, too
    groups: dict[str, list[Metric]] = {}
    for name, metric in CATALOGUE.items():
        if name in present and name not in shown and metric.unit != "count":
            groups.setdefault(_title(metric), []).append(metric)
    return [
        Table(title, metrics, [(m, [_cell(study, m, metric) for metric in metrics]) for m in study.models])
        for title, metrics in groups.items()
    ]


def _title(metric: Metric) -> str:
    if metric.group == "membership" and metric.unit == "percent":
        return "Membership, trained attacks"
    return TITLES.get(metric.group, metric.group.capitalize())


def unit(metric: Metric) -> str:
    """The unit for a table's heading; empty for shares and ratios."""
    return UNITS.get(metric.unit, "")


def glossary(study: Study) -> list[Metric]:
    """The catalogue's entries for all metrics of this evaluation, counts left out."""
    present = {name for model in study.models for name in model.row["mean"]}
    return [m for name, m in CATALOGUE.items() if name in present and m.unit != "count"]


def _cell(study: Study, model: Model, metric: Metric) -> tuple[Phrase, Phrase]:
    spec = SPECS[metric.unit]
    mean = study.mean(model, metric.name, spec)
    if mean is None:
        return DASH, ""
    number: Phrase = [mean]
    if metric.name == "relearn_steps" and _unreached(model):
        number = ["\N{GREATER-THAN OR EQUAL TO} ", *pieces(number)]
    ends = [study.mean(model, metric.name + suffix, spec) for suffix in INTERVALS]
    if ends[0] is not None and ends[1] is not None:
        return number, ["[", ends[0], ", ", ends[1], "]"]
    return number, deviation(study, model, metric.name, spec)


def _width(text: str) -> float:
    """About how many digits wide a printed deviation or interval is; rather too wide than too narrow."""
    return round(sum(1.0 if sign.isdigit() else 1.4 if sign in SIGNS else 0.6 for sign in text), 1)


def _unreached(model: Model) -> bool:
    """Whether a seed stopped at the limit: the mean number of steps is then a lower bound."""
    return any(cell["stats"].get("relearn_reached") is False for _, cell in model.cells)
