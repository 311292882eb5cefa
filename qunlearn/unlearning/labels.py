"""Wrong labels for the forget set: similar ones (Q-MUL) and random ones."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from qunlearn.unlearning.objectives import Batch


def similar_labels(logits: Tensor, labels: Tensor) -> Tensor:
    """Q-MUL's similar label (arXiv 2503.13917): argmin over j != y of |p_j - p_y|, int64 [B].

    For a correctly classified image it is the runner-up. Probabilities are float64, and ties go to the larger logit: in
    float32 every |p_j - p_y| is exactly 1 above a logit margin of about 16.6, and argmin would return the lowest index.

    Args:
        logits: [B, K], K at least 2.
        labels: true labels y, int64 [B].
    """
    logits = logits.double()
    own = labels[:, None]
    probabilities = F.softmax(logits, dim=1)
    distance = (probabilities - probabilities.gather(1, own)).abs().scatter(1, own, torch.inf)
    tied = distance == distance.amin(1, keepdim=True)
    return logits.masked_fill(~tied, -torch.inf).argmax(1)


def random_labels(labels: Tensor, classes: int, *, exclude_true: bool, generator: torch.Generator) -> Tensor:
    """Uniform labels in [0, classes), int64 [B] on the device of `labels`; `exclude_true` draws among wrong ones."""
    if not exclude_true:
        return torch.randint(0, classes, labels.shape, generator=generator).to(labels.device)
    shift = torch.randint(1, classes, labels.shape, generator=generator).to(labels.device)
    return (labels + shift) % classes


class Relabelled:
    """Cross entropy to labels that stand at the image's position in the pool, whatever order the loader takes.

    Args:
        size: number of images in the pool.
        indices: positions whose labels are replaced, int64 [n].
        choose: (model) -> labels int64 [n] for `indices` in their order.
        device: where the labels live.
    """

    def __init__(
        self, size: int, indices: Tensor, choose: Callable[[nn.Module], Tensor], *, device: torch.device
    ) -> None:
        self._indices = indices.to(device)
        self._choose = choose
        self.table = torch.full((size,), -1, dtype=torch.int64, device=device)
        """Label of every position of the pool, -1 where none was chosen."""

    def begin_epoch(self, model: nn.Module) -> None:
        """Choose all labels anew with the current model."""
        self.table[self._indices] = self._choose(model)

    def loss(self, logits: Tensor, batch: Batch) -> Tensor:
        """Cross entropy to the chosen labels, [B]."""
        return F.cross_entropy(logits, self.table[batch.indices], reduction="none")
