"""95 % intervals of accuracies and of their differences, in percent and in percentage points."""

from __future__ import annotations

import numpy as np
from scipy.stats import norm

from qunlearn.deletion.gates.judgement import Interval
from qunlearn.evaluation.arrays import Floats

Z = float(norm.ppf(0.975))


def wilson(right: int, count: int) -> Interval:
    """Score interval of a share, in percent (Wilson, J. Am. Stat. Assoc. 22, 1927); honest at 0 and 100 % too.

    `wilson(0, 10)` is (0, 27.75...).

    Args:
        right: how many of `count` (at least 1).
    """
    share = right / count
    centre = share + Z**2 / (2 * count)
    half = Z * (share * (1 - share) / count + Z**2 / (4 * count**2)) ** 0.5
    low, high = ((centre + sign * half) / (1 + Z**2 / count) for sign in (-1, 1))
    # At the ends the exact value is the end itself, which rounding may miss.
    return 0.0 if right == 0 else 100.0 * low, 100.0 if right == count else 100.0 * high


def paired_interval(first: Floats, second: Floats) -> Interval:
    """Interval of mean(first) - mean(second) over the same samples, in points within [-100, 100].

    With b samples where only `first` and c where only `second` is 1, p = (b + 1) / (n + 2) and q = (c + 1) / (n + 2):
    p - q +- z sqrt((p + q - (p - q)^2) / (n + 2)). Unlike the bootstrap it is not empty where no sample changed.
    Bonett and Price, "Adjusted Wald Confidence Interval for a Difference of Binomial Proportions Based on Paired Data",
    J. Educ. Behav. Stat. 37 (2012).

    Args:
        first: 1.0 where the first model is right, else 0.0, [n]; second: the same of the second model.
    """
    size = len(first) + 2
    p, q = ((np.sum((one == 1.0) & (other == 0.0)) + 1) / size for one, other in ((first, second), (second, first)))
    half = Z * ((p + q - (p - q) ** 2) / size) ** 0.5
    return max(-100.0, 100.0 * float(p - q - half)), min(100.0, 100.0 * float(p - q + half))
