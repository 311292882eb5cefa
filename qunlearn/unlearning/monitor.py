"""What is measured on the model after each epoch. It changes nothing.

It may read sets that the method itself may not see: nothing flows back from here.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from qunlearn.data.batches import infer
from qunlearn.quantization import integer_codes
from qunlearn.unlearning.problem import Problem
from qunlearn.unlearning.streams import stream

IMAGES = 1000
"""At most so many images of each set, always the same ones."""

QUANTILES = (5, 25, 50, 75, 95)
"""Percentiles of the forget images' losses: whether a mean hides two groups, one forgotten and one not."""

BATCH = 64
"""Images a forward pass: small, so that the peak of memory is the method's and not its monitor's."""


def mean_uncertainty(logits: Tensor) -> Tensor:
    """Mean H(p) / log K of logits [n, K], a scalar in [0, 1]; 1 where every prediction is uniform."""
    log_p = F.log_softmax(logits.double(), dim=1)
    return -(log_p.exp() * log_p).sum(1).mean() / math.log(logits.shape[1])


def changed_codes(before: dict[str, Tensor], after: dict[str, Tensor]) -> float:
    """Share in [0, 1] of integer weight codes that differ; 0 for a float network, which has none."""
    changed = sum(int((after[name] != codes).sum()) for name, codes in before.items())
    return changed / max(1, sum(codes.numel() for codes in before.values()))


def loss_quantiles(losses: Tensor) -> dict[str, float]:
    """`p05` to `p95` of the losses [n] of single images, in nats, with linear interpolation between two of them."""
    wanted = torch.tensor([percent / 100.0 for percent in QUANTILES], dtype=torch.float64, device=losses.device)
    found = torch.quantile(losses.double(), wanted).tolist()
    return {f"p{percent:02d}": value for percent, value in zip(QUANTILES, found, strict=True)}


class Monitor:
    """Per epoch: accuracy and uncertainty of each set, losses and predicted classes of the forget set, code flips."""

    def __init__(self, problem: Problem, original: nn.Module, *, images: int = IMAGES) -> None:
        self._pool = problem.pool
        self._samples = {
            name: indices[
                torch.randperm(len(indices), generator=stream(0, f"monitor/{name}"))[:images].to(indices.device)
            ]
            for name, indices in (
                ("forget", problem.forget),
                ("retain", problem.retain),
                ("validation", problem.validation),
            )
            if len(indices)
        }
        self._codes = integer_codes(original)

    @torch.no_grad()
    def __call__(self, model: nn.Module) -> dict[str, float]:
        """Figures of the model; sets are `forget`, `retain` and `validation`.

        `<set>_correct`, `forget_predicted_<class>` and `code_flips` are shares, `<set>_uncertainty` lies in [0, 1], and
        `forget_loss_p05` to `forget_loss_p95` are quantiles of the cross entropies of single forget images, in nats.
        """
        logits = {name: infer(model, self._pool, indices, batch_size=BATCH) for name, indices in self._samples.items()}
        labels = {name: self._pool.labels[indices.to(self._pool.device)] for name, indices in self._samples.items()}
        row = {f"{name}_uncertainty": float(mean_uncertainty(values)) for name, values in logits.items()}
        row |= {f"{name}_correct": float((logits[name].argmax(1) == labels[name]).double().mean()) for name in logits}
        losses = F.cross_entropy(logits["forget"].double(), labels["forget"], reduction="none")
        row |= {f"forget_loss_{name}": value for name, value in loss_quantiles(losses).items()}
        predicted = torch.bincount(logits["forget"].argmax(1), minlength=self._pool.classes) / len(logits["forget"])
        row |= {f"forget_predicted_{k}": share for k, share in enumerate(predicted.tolist())}
        return row | {"code_flips": changed_codes(self._codes, integer_codes(model))}
