"""What the main table and the headline say, for page, terminal and Markdown."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from qunlearn.evaluation.summary import ORIGINAL
from qunlearn.evaluation.verdict import MINIMUM_SEEDS, VERDICTS
from qunlearn.reporting.source import DASH, TIMES, Phrase, Piece, Value, joined, listed, pieces, plain, pointer
from qunlearn.reporting.study import Evaluation as Evaluation
from qunlearn.reporting.study import Model, Study, phrase
from qunlearn.reporting.study import Row as Row

SIGNS = {"within": "✓", "inconclusive": "?", "over": "»", "damaged": "✕", "under": "!", "reference": "·"}
"""A sign beside each verdict: colour alone says nothing to many readers, and nothing in print."""

MEANINGS = {
    "within": "like retraining on all four figures",
    "under": "still remembers",
    "over": "forgot more than retraining would",
    "damaged": "lost accuracy that retraining keeps",
    "inconclusive": "the seeds do not decide",
}
"""The verdicts in words."""

TIE = 1e-9
"""Average gaps that differ by less, in points, are equal."""

ENOUGH_SEEDS = 12
"""With so many, a method like retraining is nearly always `within`."""


@dataclass(frozen=True)
class Column:
    """One column of the main table.

    Args:
        key: metric, or field of the summary row.
        short, title: heading, and what it means.
        main, spread: of a model's cell: the number, and its deviation or interval.
        distance: of a model from the ideal, the smallest being best; None where no value is better than another.
    """

    key: str
    short: str
    title: str
    main: Callable[[Study, Model], Phrase]
    spread: Callable[[Study, Model], Phrase] = lambda _study, _model: ""
    distance: Callable[[Study, Model], float] | None = None


@dataclass(frozen=True)
class Cell:
    column: Column
    main: Phrase
    spread: Phrase
    best: bool

    @property
    def text(self) -> str:
        return plain(joined([self.main, self.spread], " "))


@dataclass(frozen=True)
class Line:
    """A row of the main table, ready to print."""

    model: Model
    cells: tuple[Cell, ...]

    @property
    def role(self) -> str:
        """`method`, or `reference` for what was not unlearned."""
        return "method" if self.model.letter else "reference"


def deviation(study: Study, model: Model, metric: str, spec: str = ".2f") -> Phrase:
    """`± standard deviation`; empty with one seed."""
    value = study.deviation(model, metric, spec)
    return "" if value is None else ["± ", value]


def interval(study: Study, model: Model, metric: str, spec: str = ".2f") -> Phrase:
    """`[low, high]`, the 95 % t-interval; empty with one seed."""
    ends = study.interval(model, metric, spec)
    return "" if ends is None else ["[", ends[0], ", ", ends[1], "]"]


def _percent(metric: str, short: str, title: str) -> Column:
    return Column(
        metric,
        short,
        title,
        lambda study, model: phrase(study.mean(model, metric)),
        lambda study, model: deviation(study, model, metric),
        lambda study, model: abs(model.row["mean"][metric] - study.reference.row["mean"][metric]),
    )


def _smallest(metric: str) -> Callable[[Study, Model], float]:
    return lambda _, model: float(model.row["mean"].get(metric, float("inf")))


def _times(value: Value | None, *, mark: str = "") -> Phrase:
    return DASH if value is None else [value, TIMES + mark]


COLUMNS = (
    _percent("forget_accuracy", "FA", "Forget accuracy, %: on the images to forget"),
    _percent("retain_accuracy", "RA", "Retain accuracy, %: on the training images to keep"),
    _percent("test_accuracy", "TA", "Test accuracy, %: on images no model has seen"),
    _percent("mia_confidence", "MIA", "Share of forget images, %, that a confidence attack calls unseen"),
    Column(
        "average_gap",
        "Gap",
        "Average gap to the retrained model, percentage points, with 95 % interval",
        lambda study, model: phrase(study.mean(model, "average_gap")),
        lambda study, model: interval(study, model, "average_gap"),
        _smallest("average_gap"),
    ),
    Column(
        "gap_ratio",
        "Ratio",
        "Average gap over noise floor",
        lambda study, model: _times(study.value("summary", model.place, "gap_ratio", spec=".1f")),
    ),
    Column("verdict", "Verdict", "Against retraining, in both directions", lambda _, model: model.verdict),
    Column(
        "cost_ratio",
        "Cost",
        "Wall time over that of retraining",
        lambda study, model: _times(study.mean(model, "cost_ratio"), mark=" *" if model.concurrent else ""),
        distance=_smallest("cost_ratio"),
    ),
    Column(
        "code_flips",
        "Flips",
        "Integer weight codes that differ from the original's",
        lambda study, model: phrase(study.mean(model, "code_flips", ".1%")),
    ),
)


def columns(study: Study) -> list[Column]:
    """The columns of the main table; that of weight codes only where there are codes."""
    known = {name for model in study.models for name in model.row["mean"]}
    return [column for column in COLUMNS if column.key != "code_flips" or "code_flips" in known]


def lines(study: Study) -> list[Line]:
    """The main table.

    Best is the smallest distance among the methods, ties included. Nothing is best where all methods tie, or where
    there are fewer than two; an oracle, which has seen the solution, does not compete.
    """
    rivals = [model for model in study.methods if not model.oracle]
    best: dict[str, set[str]] = {}
    for column in columns(study):
        if column.distance is None or len(rivals) < 2:
            continue
        distances = {model.name: round(column.distance(study, model), 9) for model in rivals}
        smallest = min(distances.values())
        winners = {name for name, value in distances.items() if value == smallest < float("inf")}
        best[column.key] = winners if len(winners) < len(rivals) else set()
    return [
        Line(model, tuple(_cell(study, model, column, best.get(column.key, set())) for column in columns(study)))
        for model in study.models
    ]


def _cell(study: Study, model: Model, column: Column, best: set[str]) -> Cell:
    return Cell(column, column.main(study, model), column.spread(study, model), model.name in best)


def closest(study: Study) -> Model | None:
    """The method with the smallest average gap; an oracle only where there are no others."""
    rivals = [model for model in study.methods if not model.oracle] or study.methods
    return min(rivals, key=_gap, default=None)


def finding(study: Study) -> list[Piece]:
    """The result in a few sentences."""
    model = closest(study)
    if model is None:
        return ["No unlearning method was run; the page shows the original and the retrained model."]
    tied = [m for m in study.methods if m.oracle == model.oracle and abs(_gap(m) - _gap(model)) < TIE]
    verb = "comes" if len(tied) == 1 else "come"
    gap = [*listed([m.named for m in tied]), f" {verb} closest, with an average gap of ", *_points(study, model), "."]
    gap += _untouched(study, model)
    gap += _better_oracle(study, model)
    if not any(_decided(m) for m in study.methods):
        return [f"Fewer than {MINIMUM_SEEDS} seeds were run, so no verdict is given. ", *gap]
    within = [m.named for m in study.methods if m.verdict == "within"]
    if within:
        return [*listed(within), " cannot be told from retraining on any of the four figures. ", *gap]
    return ["No method is within the retraining margin on all four figures. ", *gap]


def caution(study: Study) -> list[Piece]:
    """What few seeds can show, where every method is `inconclusive`; else empty.

    Chances of a second set of retrained models to be `within` in one figure, from simulation, see `docs/metrics.md`.
    """
    undecided = all(m.verdict == "inconclusive" and _decided(m) for m in study.methods)
    if not study.methods or not undecided or len(study.reference.row["seeds"]) >= ENOUGH_SEEDS:
        return []
    return [
        *study.seed_count, " can show that a method misses, hardly that it is within: models retrained once more would "
        "be within in one figure about one time in eleven with three seeds, three times in four with eight, nineteen "
        "times in twenty with twelve.",
    ]  # fmt: skip


def _points(study: Study, model: Model) -> list[Piece]:
    ratio = study.value("summary", model.place, "gap_ratio", spec=".1f")
    tail: list[Piece] = [", ", ratio, " times the noise floor"] if ratio is not None else []
    return [*pieces(phrase(study.mean(model, "average_gap"))), " points", *tail]


def _gap(model: Model) -> float:
    return float(model.row["mean"]["average_gap"])


def _untouched(study: Study, model: Model) -> list[Piece]:
    """A sentence where not to unlearn at all comes as close: the smallest of many gaps looks like success."""
    original = next((m for m in study.models if m.name == ORIGINAL), None)
    if original is None or _gap(original) > _gap(model) + TIE:
        return []
    own = pieces(phrase(study.mean(original, "average_gap")))
    return [" The untouched original is no further away, with ", *own, " points: unlearning brought nothing nearer."]


def _better_oracle(study: Study, model: Model) -> list[Piece]:
    """A sentence on methods that come closer only by knowing the solution."""
    closer = [m.named for m in study.methods if m.oracle and _gap(m) < _gap(model)]
    if not closer:
        return []
    verb, whose = ("come", "their") if len(closer) > 1 else ("comes", "its")
    return [" ", *listed(closer), f" {verb} closer still, but {whose} settings were chosen with the retrained model."]


@dataclass(frozen=True)
class Card:
    """One number of the headline."""

    title: str
    number: Phrase
    unit: str
    note: Phrase
    verdict: str = ""


def cards(study: Study) -> list[Card]:
    """The headline's numbers: smallest gap, noise floor, cheapest method."""
    model = closest(study)
    if model is None:
        return []
    found = [Card("Smallest gap", phrase(study.mean(model, "average_gap")), "points", model.named, _decided(model))]
    if study.floor is not None:
        note: Phrase = ["average gap between ", *study.seed_count, " of retraining"]
        found.append(Card("Noise floor", [study.floor], "points", note))
    timed = [m for m in study.methods if "cost_ratio" in m.row["mean"]]
    if timed:
        cheapest = min(timed, key=lambda m: float(m.row["mean"]["cost_ratio"]))
        unit = f"{TIMES} retraining's time" + (" *" if cheapest.concurrent else "")
        cost = phrase(study.mean(cheapest, "cost_ratio"))
        found.append(Card("Cheapest", cost, unit, cheapest.named, _decided(cheapest)))
    return found


def _decided(model: Model) -> str:
    """The verdict, empty where too few seeds were run for one."""
    return model.verdict if len(model.row["seeds"]) >= MINIMUM_SEEDS else ""


def tally(study: Study) -> list[tuple[str, Value]]:
    """How many methods are `within`, and how many have each verdict that occurs; empty with too few seeds for any."""
    if not any(_decided(model) for model in study.methods):
        return []
    pointers = tuple(pointer("summary", m.place, "verdict") for m in study.methods)
    counts = {name: sum(m.verdict == name for m in study.methods) for name in VERDICTS}
    return [(name, Value(n, pointers, "d", f"count:{name}")) for name, n in counts.items() if n or name == "within"]
