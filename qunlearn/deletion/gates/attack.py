"""The strongest membership attack that validation images can choose, on forgotten against test samples."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from qunlearn.deletion.gates.judgement import Interval, Readings
from qunlearn.evaluation.arrays import Floats, Ints, margins
from qunlearn.evaluation.attack_features import logit_scaled_confidences, modified_entropies
from qunlearn.evaluation.membership import auc, bootstrap, matched


def _certainty(logits: Floats, labels: Ints) -> Floats:
    return -modified_entropies(logits, labels)


SCORES: dict[str, Callable[[Floats, Ints], Floats]] = {
    "loss": logit_scaled_confidences,
    "margin": margins,
    "modified entropy": _certainty,
}
"""Larger for members. `loss` orders as loss and confidence do, without their rounding near 0 and 1. All know the label:
a sample whose true class becomes less likely never looks more like a member, as it may by plain entropy."""


@dataclass(frozen=True)
class Attack:
    """What it found on one model.

    Args:
        score: its name in `SCORES`.
        auc: probability that a forgotten sample looks more like a member than a test sample does, ties one half.
        interval: 95 % bootstrap interval of it.
        members: forgotten samples compared.
        outsiders: test samples compared.
    """

    score: str
    auc: float
    interval: Interval
    members: int
    outsiders: int


def strongest_score(readings: Readings, *, forgotten: Ints) -> str:
    """The score that tells retained from validation samples best; samples to forget and test samples have no say.

    Args:
        forgotten: classes forgotten whole, which do not count. Where no other class is left the first score is taken.
    """
    retained, unseen = (readings.of(name, without=forgotten) for name in ("retain", "validation"))
    if not (len(retained[1]) and len(unseen[1])):
        return next(iter(SCORES))
    return max(SCORES, key=lambda name: auc(SCORES[name](*retained), SCORES[name](*unseen)))


def pairs(labels: Ints, test_labels: Ints, *, seed: int) -> int:
    """How many samples to forget have a test sample of their class for themselves.

    Args:
        labels: of the samples to forget; test_labels: of the test samples.
    """
    if not np.isin(labels, test_labels).any():
        return 0
    return len(matched(labels, test_labels, seed=seed)[0])


def attack(readings: Readings, *, forgotten: Ints, resamples: int, seed: int) -> Attack:
    """Choose a score, draw test samples with the class mix of those to forget, and tell the two apart.

    Test samples are drawn in the largest whole multiple that the mix allows: they cost nothing and narrow the interval.

    Args:
        forgotten: classes forgotten whole; their samples are left out.

    Raises:
        ValueError: the two have no class in common.
    """
    name = strongest_score(readings, forgotten=forgotten)
    own, own_labels = _sorted(name, *readings.of("forget", without=forgotten))
    unseen, unseen_labels = _sorted(name, *readings.of("test"))
    chosen, _ = matched(own_labels, unseen_labels, seed=seed)
    mix = own_labels[chosen]
    times = min(int((unseen_labels == one).sum() // (mix == one).sum()) for one in np.unique(mix))
    _, drawn = matched(np.repeat(mix, times), unseen_labels, seed=seed)
    members, outsiders = own[chosen], unseen[drawn]
    interval = bootstrap(members, outsiders, resamples=resamples, seed=seed)["auc"]
    return Attack(name, auc(members, outsiders), interval, len(members), len(outsiders))


def _sorted(name: str, logits: Floats, labels: Ints) -> tuple[Floats, Ints]:
    """Scores in order of class and size. So what is drawn does not depend on the samples' order, and lowering one score
    makes no score at any place larger."""
    scores = SCORES[name](logits, labels)
    order = np.lexsort((scores, labels))
    return scores[order], labels[order]
