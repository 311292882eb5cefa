"""Too few forgotten samples for an interval: their losses against the laws of chance, on either side."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from qunlearn.config.gates import GatesConfig
from qunlearn.deletion.gates.judgement import FEW, REMEMBERED, Gate, Readings, make_gate, said_of_strangeness
from qunlearn.deletion.gates.percentiles import class_sums, lowest_allowed, mean_percentiles
from qunlearn.deletion.gates.strangeness import lowest_auc, mean_auc, pairs_won
from qunlearn.evaluation.arrays import Floats, Ints
from qunlearn.evaluation.attack_features import logit_scaled_confidences


def few_gates(
    before: Readings, after: Readings, config: GatesConfig, *, forgotten: Ints, seed: int, binding: bool
) -> tuple[Gate, Gate]:
    """`loss_percentile`: do the losses lie too low among held-out ones? `streisand`: do they lie too high?

    Args:
        forgotten: classes forgotten whole; their samples are left out. A sample of another class has a held-out one.
        seed: of the laws of chance.
        binding: of both gates.
    """
    sides = _Sides.of(after, forgotten=forgotten)
    return (
        _remembered(before, after, sides, seed=seed, binding=binding),
        _strange(before, after, sides, auc_low=config.auc_low, seed=seed, binding=binding),
    )


@dataclass(frozen=True, eq=False)
class _Sides:
    """Which samples are compared: `classes` [C], how many are `asked` for and `held` out of each [C], and `left_out`,
    for want of a held-out sample of their class."""

    classes: Ints
    asked: Ints
    held: Ints
    left_out: int

    @classmethod
    def of(cls, readings: Readings, *, forgotten: Ints) -> _Sides:
        labels, held_labels = readings.of("forget", without=forgotten)[1], readings.of("validation", "test")[1]
        classes = np.intersect1d(labels, held_labels)
        asked, held = (np.array([int((side == one).sum()) for one in classes]) for side in (labels, held_labels))
        return cls(classes, asked, held, int(len(labels) - asked.sum()))

    def losses(self, readings: Readings) -> tuple[Floats, Ints, Floats, Ints, Ints]:
        """What `class_sums` and `pairs_won` take."""
        own, unseen = readings.of("forget"), readings.of("validation", "test")
        return -logit_scaled_confidences(*own), own[1], -logit_scaled_confidences(*unseen), unseen[1], self.classes

    def gate(self, name: str, text: str, *, value: float, limit: float, before: float, binding: bool) -> Gate:
        """One that is passed at `limit` and above."""
        return make_gate(
            name,
            value >= limit,
            text,
            value=value,
            limit=limit,
            before=before,
            passed_before=before >= limit,
            weak=self.weak,
            binding=binding,
        )

    @property
    def weak(self) -> bool:
        return bool(min(self.asked.sum(), self.held.sum()) < FEW)

    @property
    def begun(self) -> str:
        """The beginning of both texts."""
        return (
            f"{'Weak evidence, from' if self.weak else 'From'} {self.asked.sum()} samples: of the losses of "
            f"{self.held.sum()} held-out samples of their classes,"
        )

    @property
    def noted(self) -> str:
        """What both texts add."""
        notes = []
        if self.asked.sum() >= FEW:
            notes.append(
                f" An AUC with an interval needs {FEW} samples with a test sample of their class for themselves."
            )
        if self.left_out:
            notes.append(f" {self.left_out} samples were left out: no held-out sample is of their classes.")
        return "".join(notes)


def _remembered(before: Readings, after: Readings, sides: _Sides, *, seed: int, binding: bool) -> Gate:
    was, value = (
        float(mean_percentiles(class_sums(*sides.losses(one)), sides.asked, sides.held)) for one in (before, after)
    )
    limit = lowest_allowed(sides.asked, sides.held, seed=seed)
    text = (
        f"{sides.begun} {value:.1f} % on average are not above theirs. Of a model that never saw them it "
        f"is about 50 %, and below {limit:.1f} %, the limit, in 5 of 100 cases.{sides.noted}"
    )
    if value < limit:
        text += f" {REMEMBERED}"
    if limit <= mean_percentiles(sides.asked, sides.asked, sides.held):
        text += " There are too few held-out samples for this gate ever to fail; add some of these classes."
    return sides.gate("loss_percentile", text, value=value, limit=limit, before=was, binding=binding)


def _strange(before: Readings, after: Readings, sides: _Sides, *, auc_low: float, seed: int, binding: bool) -> Gate:
    was, value = (float(mean_auc(pairs_won(*sides.losses(one)), sides.asked, sides.held)) for one in (before, after))
    limit, usual = (lowest_auc(sides.asked, sides.held, auc=auc, seed=seed) for auc in (auc_low, 0.5))
    text = (
        f"{sides.begun} {100 * value:.1f} % on average are not below theirs, an AUC of {value:.3f}; 0.5 means that "
        "they cannot be told apart."
    )
    if auc_low > 0.0:
        text += (
            f" Samples so hard by nature that a model that never saw them has {auc_low:g} on average are below "
            f"{limit:.3f}, the limit, in 2.5 of 100 cases."
        )
    else:
        text += " With `auc_low: 0` none is too low."
    text += sides.noted
    text += said_of_strangeness(passed=value >= limit, passed_before=was >= limit, stranger=value < usual)
    if auc_low > 0.0 and limit <= 0.0:
        text += " There are too few samples, asked for or held out, for this gate ever to fail."
    return sides.gate("streisand", text, value=value, limit=limit, before=was, binding=binding)
