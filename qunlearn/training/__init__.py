"""Training: the loop, its schedules, and the check that a retrained model starts afresh."""

from __future__ import annotations

from qunlearn.progress import EpochStats
from qunlearn.training.fresh import require_fresh, share_kept
from qunlearn.training.loop import DivergedError, TrainingResult, resolve_device, steps_per_epoch, train
from qunlearn.training.schedules import learning_rate

__all__ = [
    "DivergedError",
    "EpochStats",
    "TrainingResult",
    "learning_rate",
    "require_fresh",
    "resolve_device",
    "share_kept",
    "steps_per_epoch",
    "train",
]
