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


class Monitor:
    """Per epoch: uncertainty on forget, retain and validation, predicted classes on forget, code flips."""

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
        """`<set>_uncertainty` in [0, 1], `forget_predicted_<class>` and `code_flips` as shares."""
        logits = {name: infer(model, self._pool, indices, batch_size=BATCH) for name, indices in self._samples.items()}
        row = {f"{name}_uncertainty": float(mean_uncertainty(values)) for name, values in logits.items()}
        predicted = torch.bincount(logits["forget"].argmax(1), minlength=self._pool.classes) / len(logits["forget"])
        row |= {f"forget_predicted_{k}": share for k, share in enumerate(predicted.tolist())}
        return row | {"code_flips": changed_codes(self._codes, integer_codes(model))}
