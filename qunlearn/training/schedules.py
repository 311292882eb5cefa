"""Learning rates as pure functions of the step."""

from __future__ import annotations

import math

from qunlearn.config import TrainingConfig

ONE_CYCLE_RISE = 0.3
"""Share of the steps in which one_cycle rises."""
ONE_CYCLE_START = 1 / 25
"""First learning rate of one_cycle, as a share of the highest."""
ONE_CYCLE_END = ONE_CYCLE_START / 1e4
"""Last learning rate of one_cycle, as a share of the highest."""


def learning_rate(step: int, config: TrainingConfig, *, steps_per_epoch: int) -> float:
    """The learning rate of the step number `step`, counted from 0 over all epochs."""
    total = config.epochs * steps_per_epoch
    if config.schedule == "one_cycle":
        return config.learning_rate * one_cycle(step, total)
    return config.learning_rate * cosine(step, total, warmup=round(config.warmup_epochs * steps_per_epoch))


def cosine(step: int, total: int, *, warmup: int = 0) -> float:
    """In (0, 1]: rises linearly over `warmup` steps to 1, then falls as half a cosine, reaching 0 at step `total`.

    >>> [round(cosine(step, 6, warmup=2), 3) for step in range(6)]
    [0.5, 1.0, 1.0, 0.854, 0.5, 0.146]
    """
    if step < warmup:
        return (step + 1) / warmup
    return 0.5 * (1.0 + math.cos(math.pi * (step - warmup) / (total - warmup)))


def one_cycle(step: int, total: int) -> float:
    """In (0, 1]: rises from 1/25 to 1 over 30 % of the steps, then falls to 1/250000, both as half cosines.

    Smith and Topin (arXiv 1708.07120), with cosines for lines and constant momentum.
    """
    peak = ONE_CYCLE_RISE * total - 1.0
    if step < peak:
        return _between(ONE_CYCLE_START, 1.0, step / peak)
    rest = total - 1.0 - max(peak, 0.0)
    return _between(1.0, ONE_CYCLE_END, (step - max(peak, 0.0)) / rest if rest > 0 else 0.0)


def _between(start: float, end: float, share: float) -> float:
    return end + (start - end) * 0.5 * (1.0 + math.cos(math.pi * share))
