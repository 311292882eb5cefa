"""Few forgotten samples: where do their losses lie among those of held-out samples of their class?

Of a model that never saw them they lie anywhere, so a sample's percentile is uniform and their mean is near one half; a
model that remembers them has low percentiles. The percentile is the conformal p-value, (1 + held-out samples of the
class with at most this loss) / (1 + held-out samples of the class), which equal losses make larger, never smaller.

Percentiles of one class are not independent: all are taken among the same held-out samples. The law of their mean is
therefore not Irwin and Hall's but that of ranks drawn without replacement (Bates et al., "Testing for Outliers with
Conformal P-values", Ann. Stat. 51, 2023); with one class it is that of the Mann-Whitney statistic. It is drawn here.
"""

from __future__ import annotations

import numpy as np

from qunlearn.evaluation.arrays import Floats, Ints

LEVEL = 0.05
DRAWS = 9_999
"""The level times one more than this is whole, which makes the test's level exact."""


def class_sums(losses: Floats, labels: Ints, held_losses: Floats, held_labels: Ints, classes: Ints) -> Ints:
    """Sum over the samples of each class of 1 + held-out samples of the class with at most the sample's loss, [C].

    Args:
        losses: any number per sample that orders as the loss does, [N]; labels: [N].
        held_losses: of the held-out samples, [M]; held_labels: [M].
        classes: [C], each with a sample on both sides.
    """
    sums = []
    for one in classes:
        own, held = losses[labels == one], np.sort(held_losses[held_labels == one])
        sums.append(len(own) + int(np.searchsorted(held, own, side="right").sum()))
    return np.array(sums, dtype=np.int64)


def drawn_sums(asked: int, held: int, *, generator: np.random.Generator, draws: int = DRAWS) -> Ints:
    """`class_sums` of one class, for a model that never saw the samples, [draws].

    Args:
        asked: samples of the class, at least 1; held: held-out samples of the class, at least 1.
    """
    total, fewer = asked + held, min(asked, held)
    ranks = _distinct(generator, draws, fewer, total).sum(axis=1) + fewer
    if fewer == held and held != asked:
        ranks = total * (total + 1) // 2 - ranks
    return np.asarray(ranks - asked * (asked + 1) // 2 + asked, dtype=np.int64)


def mean_percentiles(sums: Ints, asked: Ints, held: Ints) -> Floats:
    """Mean percentile in percent, from sums [..., C], the samples of each class [C] and its held-out samples [C]."""
    return np.asarray(100.0 * (sums / (held + 1)).sum(axis=-1) / asked.sum(), dtype=np.float64)


def lowest_allowed(asked: Ints, held: Ints, *, seed: int, draws: int = DRAWS) -> float:
    """The mean percentile in percent below which, at `LEVEL`, the samples were seen.

    Args:
        asked: samples of each class, [C]; held: held-out samples of each class, [C].
    """
    generator = np.random.default_rng(seed)
    sums = [drawn_sums(int(n), int(m), generator=generator, draws=draws) for n, m in zip(asked, held, strict=True)]
    means = np.sort(mean_percentiles(np.stack(sums, axis=-1), asked, held))
    return float(means[int(LEVEL * (draws + 1) + 0.5) - 1])


def _distinct(generator: np.random.Generator, rows: int, count: int, total: int) -> Ints:
    """`count` different numbers in [0, total) for each row, every subset equally likely, [rows, count] (R. Floyd)."""
    chosen = np.empty((rows, count), dtype=np.int64)
    for step in range(count):
        last = total - count + step
        drawn = generator.integers(0, last + 1, rows)
        taken = (chosen[:, :step] == drawn[:, None]).any(axis=1)
        chosen[:, step] = np.where(taken, last, drawn)
    return chosen
