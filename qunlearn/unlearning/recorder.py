"""Statistics of an unlearning run: device tensors during an epoch, read once at its end."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from qunlearn.progress import EpochStats

Columns = dict[str, NDArray[Any]]


class Recorder:
    """Collects the step table, the layer table and the epoch rows of one run.

    Args:
        sizes: images in the forget and the retain set, to express work in passes.
        measure: figures of the model after an epoch; its time is not counted as the method's.
        on_epoch: told about each finished epoch.
    """

    def __init__(
        self,
        *,
        sizes: dict[str, int],
        measure: Callable[[nn.Module], dict[str, float]],
        on_epoch: Callable[[EpochStats], None] | None = None,
    ) -> None:
        self._sizes = sizes
        self._measure = measure
        self._samples = dict.fromkeys(sizes, 0)
        self._pending: list[tuple[dict[str, float], dict[str, Tensor], dict[str, Tensor]]] = []
        self._steps: list[Columns] = []
        self._layers: list[Columns] = []
        self._started = time.perf_counter()
        self.layer_names: Sequence[str] = ()
        self.on_epoch = on_epoch
        self.epochs: list[dict[str, float]] = []
        self.measuring_seconds = 0.0

    def count(self, part: str, images: int) -> None:
        """So many images of `part` went forward and backward."""
        self._samples[part] += images

    def step(self, place: dict[str, float], statistics: dict[str, Tensor], layers: dict[str, Tensor]) -> None:
        """One optimizer step.

        Args:
            place: known numbers, first `step` and `epoch`, counted from 1.
            statistics: device scalars.
            layers: device tensors [blocks], in the order of `layer_names`.
        """
        self._pending.append((place, statistics, layers))

    def end_epoch(self, model: nn.Module, *, epochs: int, extra: dict[str, Tensor]) -> dict[str, float]:
        """Read the epoch's statistics from the device and add its row, which is returned.

        Args:
            epochs: how many there will be.
            extra: device scalars of the whole epoch.
        """
        steps = self._read_steps()
        self._steps.append(steps)
        self._layers += self._read_layers()
        self._pending = []
        row = {"epoch": float(steps["epoch"][-1]), **_summary(steps), **_floats(extra)}
        now = time.perf_counter()
        row["seconds"] = now - self._started
        row |= self._measure(model)
        self._started = time.perf_counter()
        self.measuring_seconds += self._started - now
        self.epochs.append(row)
        self._announce(row, epochs)
        return row

    def _announce(self, row: dict[str, float], epochs: int) -> None:
        part = "retain" if "retain_loss" in row else "forget"
        if self.on_epoch is not None:
            self.on_epoch(
                EpochStats(
                    epoch=int(row["epoch"]),
                    epochs=epochs,
                    loss=row.get(f"{part}_loss", math.nan),
                    accuracy=row.get(f"{part}_accuracy", math.nan),
                    learning_rate=row["learning_rate"],
                    seconds=row["seconds"],
                )
            )

    def _read_steps(self) -> Columns:
        names = list(dict.fromkeys(name for _, statistics, _ in self._pending for name in statistics))
        columns: Columns = {
            name: np.array([place[name] for place, _, _ in self._pending]) for name in self._pending[0][0]
        }
        table = _stacked([[statistics.get(name) for name in names] for _, statistics, _ in self._pending])
        return columns | {name: table[:, i] for i, name in enumerate(names)}

    def _read_layers(self) -> list[Columns]:
        rows = [(place, layers) for place, _, layers in self._pending if layers]
        if not rows:
            return []
        names = list(rows[0][1])
        table = _stacked([[layers[name] for name in names] for _, layers in rows])
        count = len(self.layer_names)
        columns: Columns = {key: np.repeat([place[key] for place, _ in rows], count) for key in ("step", "epoch")}
        columns["layer"] = np.tile(np.array(self.layer_names), len(rows))
        return [columns | {name: table[:, i].reshape(-1) for i, name in enumerate(names)}]

    def steps(self) -> Columns:
        """Columns of equal length, first `step` and `epoch`; NaN where a step has no such figure."""
        return _joined(self._steps) or {"step": np.empty(0), "epoch": np.empty(0)}

    def layers(self) -> Columns | None:
        """A long table step x layer, or None where nothing was recorded per layer."""
        return _joined(self._layers) or None

    def passes(self) -> dict[str, float]:
        """Forward-and-backward passes over each full set."""
        return {part: self._samples[part] / size for part, size in self._sizes.items()}


def _stacked(rows: list[list[Tensor | None]]) -> NDArray[np.float64]:
    """float64 [steps, figures, ...] in one transfer; None becomes NaN."""
    filled = [value for row in rows for value in row if value is not None]
    if not filled:
        return np.empty((len(rows), 0))
    nothing = torch.full_like(filled[0], torch.nan, dtype=torch.float64)
    table = [torch.stack([nothing if v is None else v.to(nothing) for v in row]) for row in rows]
    return torch.stack(table).cpu().numpy()


def _summary(steps: Columns) -> dict[str, float]:
    """Means over the steps that have the figure; of residuals the largest, of the learning rate the last."""
    row = {}
    for name, values in steps.items():
        known = values[~np.isnan(values)]
        if name in ("step", "epoch") or not len(known):
            continue
        row[name] = float(known.max() if "residual" in name else known[-1] if name == "learning_rate" else known.mean())
    return row


def _floats(values: dict[str, Tensor]) -> dict[str, float]:
    return dict(zip(values, torch.stack([v.double() for v in values.values()]).tolist(), strict=True)) if values else {}


def _joined(tables: list[Columns]) -> Columns:
    names = list(dict.fromkeys(name for table in tables for name in table))
    return {
        name: np.concatenate([t[name] if name in t else np.full(len(t["step"]), np.nan) for t in tables])
        for name in names
    }
