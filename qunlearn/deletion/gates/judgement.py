"""What the gates are given, and what they say."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from qunlearn.evaluation.arrays import Floats, Ints, check

SETS = ("forget", "retain", "validation", "test")
LARGEST = float(np.finfo(np.float32).max)
"""Magnitude up to which every score of a sample is finite in float64."""

FEW = 30
"""With fewer samples a gate on what was forgotten is weak."""

ROUNDING = 1e-9
"""Points by which a figure that lies exactly on its limit may miss it."""

Interval = tuple[float, float]


@dataclass(frozen=True, eq=False)
class Readings:
    """What one model says about the four sets, from eval mode and the test transform.

    Args:
        logits: `forget` (what is to be unlearned, all of it training samples of the champion), `retain` (a fixed sample
            of the retained training set), `validation` and `test`, [N, K] each. NaN and infinity are let in: a gate
            refuses them.
        labels: the same sets, [N] each, in [0, K).

    Raises:
        ValueError: a set is missing, empty or of the wrong shape or type.
    """

    logits: Mapping[str, Floats]
    labels: Mapping[str, Ints]

    def __post_init__(self) -> None:
        if missing := [name for name in SETS if name not in self.logits or name not in self.labels]:
            raise ValueError(f"logits or labels of {', '.join(missing)} are missing; the gates need {', '.join(SETS)}")
        for name in SETS:
            logits = self.logits[name]
            check(np.where(np.isfinite(logits), logits, 0.0), self.labels[name], name=f"the {name} set")
        widths = {self.logits[name].shape[1] for name in SETS}
        if len(widths) > 1:
            raise ValueError(f"the sets have logits of {sorted(widths)} classes; one model has one number of classes")

    @property
    def classes(self) -> int:
        """Number of classes K."""
        return int(self.logits["forget"].shape[1])

    @property
    def broken(self) -> int:
        """Samples with a logit that is NaN, infinite or beyond float32."""
        return sum(int((~(np.abs(self.logits[name]) <= LARGEST)).any(axis=1).sum()) for name in SETS)

    def of(self, *names: str, only: Ints | None = None, without: Ints | None = None) -> tuple[Floats, Ints]:
        """Logits [M, K] and labels [M] of these sets together.

        Args:
            only: keep samples of these classes; without: leave samples of these classes out.
        """
        logits = np.concatenate([self.logits[name] for name in names])
        labels = np.concatenate([self.labels[name] for name in names])
        kept = np.ones(len(labels), dtype=bool)
        if only is not None:
            kept &= np.isin(labels, only)
        if without is not None:
            kept &= ~np.isin(labels, without)
        return logits[kept], labels[kept]


@dataclass(frozen=True)
class Gate:
    """One question about the candidate.

    Args:
        name: of the gate, in docs/gates.md.
        passed: the answer; False as well where the question cannot be answered.
        value: what was measured on the candidate; None where it cannot be.
        interval: its 95 % interval, where it has one.
        limit: what value or interval was held against.
        before: the same figure of the champion; of a drop, 0.
        passed_before: whether the champion passes.
        informative: False where the champion passes what asks for forgetting: then the answer says nothing about what
            was done. A gate that asks for harm is always informative.
        weak: judges fewer than 30 samples to forget, or judges them by fewer than 30.
        text: all of it in words, with what to do where the gate fails. Names no sample.
        binding: False where failing does not keep the candidate from being released.
    """

    name: str
    passed: bool
    value: float | None
    interval: Interval | None
    limit: float
    before: float | None
    passed_before: bool
    informative: bool
    weak: bool
    text: str
    binding: bool = True


@dataclass(frozen=True)
class Judgement:
    """The gates of one candidate.

    Args:
        gates: in the order of docs/gates.md.
        metrics: `before_`, `after_` and `reference_` + `<set>_accuracy` in percent with the ends of their 95 % Wilson
            intervals `_low` and `_high`; `<set>_samples`.
    """

    gates: tuple[Gate, ...]
    metrics: dict[str, float]

    @property
    def passed(self) -> bool:
        """Whether the candidate may be released."""
        return all(gate.passed for gate in self.gates if gate.binding)

    @property
    def informative(self) -> bool:
        """Whether any gate that asks for forgetting was failed by the champion, so that passing it means something."""
        return any(gate.informative for gate in self.gates if gate.name not in HARM)


HARM = frozenset({"finite", "utility", "retain", "streisand", "reference_retain", "reference_test"})
"""Gates that ask whether harm was done. The champion passes them by nature; they say nothing about forgetting."""

REMEMBERED = "The model still knows the samples: unlearn longer, or with another method."
NOT_INFORMATIVE = "Not informative: the champion passed as well, before anything was unlearned."


def make_gate(
    name: str,
    passed: bool,
    text: str,
    *,
    value: float | None,
    limit: float,
    before: float | None,
    passed_before: bool,
    interval: Interval | None = None,
    weak: bool = False,
    binding: bool = True,
) -> Gate:
    """A gate with `informative` and the words for it filled in."""
    informative = name in HARM or not passed_before
    said = text if informative or not passed else f"{text} {NOT_INFORMATIVE}"
    return Gate(name, passed, value, interval, limit, before, passed_before, informative, weak, said, binding)


def said_of_strangeness(*, passed: bool, passed_before: bool, stranger: bool) -> str:
    """What the gate `streisand` adds to its figures, with a space before it.

    Args:
        stranger: the samples are stranger to the model than chance explains.
    """
    if passed:
        return " Warning: the samples are stranger to the model than samples it never saw." if stranger else ""
    advice = "unlearn more gently, or with another method."
    if not passed_before:
        advice = (
            "but so they were to the champion; they may be hard by nature, and retraining is not bound by this gate."
        )
    return f" The samples are conspicuously strange to the model and can be found by that: {advice}"
