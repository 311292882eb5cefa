"""What a person sees while something trains: a bar on a terminal, plain lines anywhere else."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType
from typing import TextIO

from tqdm import tqdm


@dataclass(frozen=True)
class EpochStats:
    """One finished epoch.

    Args:
        epoch: counted from 1.
        epochs: how many there will be.
        loss: mean over the epoch's training batches, label smoothing included.
        accuracy: percent, of the same forward passes (augmented images, weights on the move).
        learning_rate: at the last step.
        seconds: wall time of this epoch.
    """

    epoch: int
    epochs: int
    loss: float
    accuracy: float
    learning_rate: float
    seconds: float


class EpochPrinter:
    """Call it with every `EpochStats`. Use it as a context manager, so that an error does not leave a bar open.

    Args:
        label: stands before every line.
        stream: where to write; a terminal gets a bar.
        interval: seconds between plain lines; the last epoch always has one.
        clock: seconds that only grow.
    """

    def __init__(
        self, label: str, *, stream: TextIO, interval: float = 10.0, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._label = label
        self._stream = stream
        self._interval = interval
        self._clock = clock
        self._last_line = clock()
        self._bar: tqdm[None] | None = None

    def __call__(self, stats: EpochStats) -> None:
        figures = f"loss {stats.loss:.4f}, accuracy {stats.accuracy:.2f} %"
        last = stats.epoch >= stats.epochs
        if self._stream.isatty():
            if self._bar is None:
                self._bar = tqdm(total=stats.epochs, desc=self._label, unit="epoch", file=self._stream)
            self._bar.set_postfix_str(figures, refresh=False)
            self._bar.update(stats.epoch - self._bar.n)
            if last:
                self.close()
        elif last or self._clock() - self._last_line >= self._interval:
            self._last_line = self._clock()
            self._stream.write(f"{self._label}: epoch {stats.epoch}/{stats.epochs}, {figures}, {stats.seconds:.2f} s\n")
            self._stream.flush()

    def close(self) -> None:
        if self._bar is not None:
            self._bar.close()
            self._bar = None

    def __enter__(self) -> EpochPrinter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def epoch_printer(label: str) -> EpochPrinter:
    """A printer to the standard error stream."""
    return EpochPrinter(label, stream=sys.stderr)
