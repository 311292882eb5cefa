"""The network under way: in evaluation mode, its parameters one vector, moved by displacements of that vector."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from qunlearn.data.batches import infer
from qunlearn.quantization import ScaleGuard
from qunlearn.unlearning.layout import Layout
from qunlearn.unlearning.problem import Data
from qunlearn.unlearning.recorder import Recorder
from qunlearn.unlearning.units import lsq_units

Part = Literal["forget", "adjacent", "remote"]


@dataclass(frozen=True)
class Forward:
    """Cross entropy of each image of a batch, [B] with its graph, and the share of correct predictions, a scalar."""

    losses: Tensor
    correct: Tensor


class Network:
    """A copy of the original model in evaluation mode throughout, so BatchNorm's statistics never change.

    Images are never augmented: the guard compares losses of the same images.
    """

    def __init__(self, data: Data, recorder: Recorder) -> None:
        if data.pool.device.type == "cuda":
            # Process-wide on purpose: a scoped setting would be undone by a run that ends in another thread.
            torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark = True, False
        self.pool = data.pool
        self.model = data.original().eval()
        self.layout = Layout.of(self.model, units=lsq_units(self.model, data.pool.batch(data.forget[:1])[0]))
        self._guard = ScaleGuard(self.model)
        self._recorder = recorder
        self._memory: dict[str, Tensor] = {}
        recorder.layer_names = self.layout.block_names

    def forward(self, part: Part, indices: Tensor) -> Forward:
        """Forward pass of the images at `indices`, counted as work on `part`; adjacent and remote ones are retained."""
        inputs, labels = self.pool.batch(indices)
        self._recorder.count("forget" if part == "forget" else "retain", len(indices))
        logits = self.model(inputs)
        correct = (logits.detach().argmax(1) == labels).double().mean()
        return Forward(F.cross_entropy(logits, labels, reduction="none"), correct)

    def image_losses(self, indices: Tensor, *, batch_size: int) -> Tensor:
        """Cross entropy of each image at the present weights without a graph, float32 [n]."""
        logits = infer(self.model, self.pool, indices, batch_size=batch_size)
        return F.cross_entropy(logits, self.pool.labels[indices.to(self.pool.device)], reduction="none")

    def memory(self, name: str) -> Tensor:
        """A vector [n] to write to, always the same one for a name: new memory costs more than what is written."""
        if name not in self._memory:
            self._memory[name] = torch.empty_like(self.layout.values())
        return self._memory[name]

    def move(self, displacement: Tensor) -> None:
        """Add `displacement` [n] to the parameters; no learned scale halves or doubles."""
        with self._guard:
            self.layout.move(displacement)


class Rounds:
    """Endless batches of a set: round after round over all of it, each in a new order and in nearly equal parts."""

    def __init__(self, indices: Tensor, batch_size: int, *, generator: torch.Generator) -> None:
        self.parts = -(-len(indices) // batch_size)
        """Batches in a round."""
        self._batches = self._all(indices, generator)

    def take(self, limit: int = 1) -> list[Tensor]:
        """The next `limit` batches, or as many as a round has: together no more than the whole set."""
        return [next(self._batches) for _ in range(min(limit, self.parts))]

    def _all(self, indices: Tensor, generator: torch.Generator) -> Iterator[Tensor]:
        while True:
            order = indices[torch.randperm(len(indices), generator=generator)]
            yield from order.tensor_split(self.parts)
