"""What a run tells while it unlearns, which takes longer than all its other steps: figures of whole sets, no sample."""

from __future__ import annotations

from collections.abc import Callable

from prefect import get_run_logger

from qunlearn.config import TrainingConfig
from qunlearn.deletion.counted import counted
from qunlearn.progress import EpochStats
from qunlearn.unlearning import Choice
from tasks.deletion.methods import RETRAIN


def tell_start(choice: Choice, recipe: TrainingConfig, *, forget: int, retain: int) -> None:
    """Log the method, and on how much it works.

    Args:
        recipe: of a full training.
        forget: samples to unlearn.
        retain: samples to keep.
    """
    # A method that computes its weights in one step has no epochs.
    epochs = recipe.epochs if choice.method == RETRAIN else getattr(choice.base, "epochs", None)
    get_run_logger().info(
        "%s: unlearns %s, keeps %s%s",
        choice.name,
        counted(forget, "sample"),
        f"{retain:,}",
        "" if epochs is None else f", {counted(epochs, 'epoch')}",
    )


def epoch_logger(choice: Choice) -> Callable[[EpochStats], None]:
    """A hook that logs each finished epoch."""
    logger = get_run_logger()

    def tell(stats: EpochStats) -> None:
        logger.info(
            "%s: epoch %d/%d, loss %.4f, accuracy %.2f %%, %.2f s",
            choice.name,
            stats.epoch,
            stats.epochs,
            stats.loss,
            stats.accuracy,
            stats.seconds,
        )

    return tell
