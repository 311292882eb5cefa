"""What the tables say: columns, the text of every cell, which method is best; for page, terminal and Markdown."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import mean
from typing import Any

from qunlearn.evaluation.summary import ORIGINAL, REFERENCE
from qunlearn.evaluation.verdict import MINIMUM_SEEDS

Row = Mapping[str, Any]
Evaluation = Mapping[str, Any]

DASH, TIMES = "\N{EN DASH}", "\N{MULTIPLICATION SIGN}"
SIGNS = {"within": "✓", "inconclusive": "?", "over": "»", "damaged": "✕", "under": "!", "reference": "·"}
"""A sign beside each verdict: colour alone says nothing to many readers, and nothing in print."""


@dataclass(frozen=True)
class Column:
    """One column of the main table.

    Args:
        key: metric, or field of the summary row.
        short, title: heading, and what it means.
        text: of a row's cell.
        distance: of a row from the ideal, the smallest being best; None where no value is better than another.
    """

    key: str
    short: str
    title: str
    text: Callable[[Row], str]
    distance: Callable[[Row, Row], float] | None = None


@dataclass(frozen=True)
class Cell:
    column: Column
    text: str
    best: bool


@dataclass(frozen=True)
class Line:
    """A row of the main table, ready to print."""

    method: str
    verdict: str
    cells: tuple[Cell, ...]

    @property
    def role(self) -> str:
        """`reference` for what was not unlearned, `method` for the others."""
        return "reference" if self.method in (ORIGINAL, REFERENCE) else "method"


def number(value: float | None, digits: int = 2, unit: str = "") -> str:
    """`value` with a fixed number of digits, or a dash where there is none."""
    return DASH if value is None else f"{value:.{digits}f}{unit}"


def mean_deviation(row: Row, metric: str, digits: int = 2) -> str:
    """`mean ± standard deviation`, the latter only where more than one seed was run."""
    centre, spread = row["mean"].get(metric), row["std"].get(metric)
    return number(centre, digits) + (f" ± {spread:.{digits}f}" if spread is not None else "")


def mean_interval(row: Row, metric: str, digits: int = 2) -> str:
    """`mean [low, high]` with the 95 % t-interval; a figure that cannot be negative starts at 0."""
    interval = row["interval"].get(metric)
    if interval is None:
        return number(row["mean"].get(metric), digits)
    low, high = max(0.0, interval[0]), interval[1]
    return f"{number(row['mean'][metric], digits)} [{low:.{digits}f}, {high:.{digits}f}]"


def share(row: Row, metric: str) -> str:
    """A share in [0, 1] as percent."""
    value = row["mean"].get(metric)
    return DASH if value is None else f"{100 * value:.1f} %"


def _to_reference(metric: str) -> Callable[[Row, Row], float]:
    return lambda row, reference: abs(row["mean"][metric] - reference["mean"][metric])


def _smallest(metric: str) -> Callable[[Row, Row], float]:
    return lambda row, _: row["mean"].get(metric, float("inf"))


def _percent(metric: str, short: str, title: str) -> Column:
    return Column(metric, short, title, lambda row: mean_deviation(row, metric), _to_reference(metric))


COLUMNS = (
    _percent("forget_accuracy", "FA", "Forget accuracy, %: on the images to forget"),
    _percent("retain_accuracy", "RA", "Retain accuracy, %: on the training images to keep"),
    _percent("test_accuracy", "TA", "Test accuracy, %: on images no model has seen"),
    _percent("mia_confidence", "MIA", "Share of forget images, %, that a confidence attack calls unseen"),
    Column(
        "average_gap",
        "Gap",
        "Average gap to the retrained model, percentage points, with 95 % interval",
        lambda row: mean_interval(row, "average_gap"),
        _smallest("average_gap"),
    ),
    Column("gap_ratio", "Ratio", "Average gap over noise floor", lambda row: number(row["gap_ratio"], 1, TIMES)),
    Column("verdict", "Verdict", "Against retraining, in both directions", lambda row: str(row["verdict"])),
    Column(
        "cost_ratio",
        "Cost",
        "Wall time over that of retraining",
        lambda row: number(row["mean"].get("cost_ratio"), 2, TIMES) + (" *" if row["concurrent"] else ""),
        _smallest("cost_ratio"),
    ),
    Column(
        "code_flips", "Flips", "Integer weight codes that differ from the original's", lambda r: share(r, "code_flips")
    ),
)

DETAILS = (
    ("mia_auc", "AUC, loss", "Membership attack by loss: 0.5 = cannot be told from test images", 3),
    ("mia_auc_margin", "AUC, margin", "Membership attack by margin: 0.5 = cannot be told from test images", 3),
    ("mia_tpr_at_1fpr", "TPR at 1 % FPR", "Forget images found while 1 % of test images are accused", 3),
    ("forget_entropy", "Entropy", "Mean H/log K on the forget set: 1 = fully undecided", 3),
    ("forget_max_probability", "Top probability", "Mean of the largest probability on the forget set", 3),
    ("forget_concentration", "Concentration", "Of predicted classes on the forget set: 1 = one class takes all", 3),
    ("scale_drift", "Scale drift", "Relative change of the quantizers' scales", 4),
    ("batchnorm_drift", "BatchNorm drift", "Relative change of the running statistics", 4),
    ("work_ratio", "Work", "Samples processed over those of retraining", 3),
)
"""Metric, heading, meaning, digits of the second table; a metric that no row has is left out."""


def lines(evaluation: Evaluation) -> list[Line]:
    """The main table. Best is the smallest distance among the methods, ties included; it needs two methods."""
    summary = evaluation["summary"]
    reference = next(row for row in summary if row["method"] == REFERENCE)
    rivals = methods(evaluation)
    best: dict[str, set[str]] = {}
    for column in COLUMNS:
        if column.distance is None or len(rivals) < 2:
            continue
        distances = {row["method"]: round(column.distance(row, reference), 9) for row in rivals}
        smallest = min(distances.values())
        best[column.key] = {name for name, value in distances.items() if value == smallest < float("inf")}
    return [
        Line(
            row["method"],
            row["verdict"],
            tuple(Cell(c, c.text(row), row["method"] in best.get(c.key, ())) for c in COLUMNS),
        )
        for row in summary
    ]


def details(evaluation: Evaluation) -> tuple[list[tuple[str, str]], list[tuple[str, list[str]]]]:
    """The second table: headings as (short, meaning), and (method, texts) by row."""
    summary = evaluation["summary"]
    present = [d for d in DETAILS if any(d[0] in row["mean"] for row in summary)]
    body = [(row["method"], [mean_deviation(row, key, digits) for key, _, _, digits in present]) for row in summary]
    return [(short, meaning) for _, short, meaning, _ in present], body


def flips_by_layer(evaluation: Evaluation) -> tuple[list[str], list[tuple[str, list[float]]]]:
    """Share of changed weight codes: names of the compared models, and (layer, mean over seeds by model) rows.

    Read from `code_flips_by_layer` in the cells' stats; models without it are left out, as is the original, where
    nothing can have changed.
    """
    found: dict[str, list[Mapping[str, float]]] = {}
    for cell in evaluation["cells"]:
        if cell["method"] != ORIGINAL and cell["stats"].get("code_flips_by_layer"):
            found.setdefault(cell["method"], []).append(cell["stats"]["code_flips_by_layer"])
    layers = list(dict.fromkeys(layer for cells in found.values() for cell in cells for layer in cell))
    rows = [(layer, [mean(cell[layer] for cell in cells) for cells in found.values()]) for layer in layers]
    return list(found), rows


def methods(evaluation: Evaluation) -> list[Row]:
    """Summary rows of the unlearning methods alone."""
    return [row for row in evaluation["summary"] if row["method"] not in (ORIGINAL, REFERENCE)]


def finding(evaluation: Evaluation) -> str:
    """The result in one or two sentences."""
    rivals = methods(evaluation)
    if not rivals:
        return "No unlearning method was run; the page shows the original and the retrained model."
    closest = min(rivals, key=lambda row: float(row["mean"]["average_gap"]))
    ratio = f", {closest['gap_ratio']:.1f} times the noise floor" if closest["gap_ratio"] is not None else ""
    gap = (
        f"{closest['method']} comes closest, with an average gap of {closest['mean']['average_gap']:.2f} points{ratio}."
    )
    if all(len(row["seeds"]) < MINIMUM_SEEDS for row in rivals):
        return f"Fewer than {MINIMUM_SEEDS} seeds were run, so no verdict is given. {gap}"
    within = [row["method"] for row in rivals if row["verdict"] == "within"]
    if within:
        return f"{listed(within)} cannot be told from retraining on any of the four figures. {gap}"
    return f"No method is within the retraining margin on all four figures. {gap}"


def listed(names: Sequence[str]) -> str:
    """`a`, `a and b`, `a, b and c`."""
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
