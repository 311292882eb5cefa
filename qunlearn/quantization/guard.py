"""Keep learned scales from collapsing in a single optimizer step."""

from __future__ import annotations

from types import TracebackType

import torch
from torch import Tensor, nn

from qunlearn.quantization.lsq import LSQ
from qunlearn.quantization.pact import PACT

FACTOR = 2.0


class ScaleGuard:
    """Around an optimizer step: no LSQ step size and no PACT clip halves or doubles, or worse, in one step.

    A scale is a positive number of the size of a weight, but takes steps of the weights' learning rate: from scratch,
    at 0.1 and above, one bad batch can push it below zero. Kept at its floor it then makes all codes saturate and the
    network never recovers, with finite losses. Ordinary steps change a scale by far less than a factor of two and are
    left exactly as they are, so the published gradients and recipes hold. The bound is ours; no paper has it.

        with guard:
            optimizer.step()
    """

    def __init__(self, model: nn.Module) -> None:
        quantizers = [module for module in model.modules() if isinstance(module, (LSQ, PACT))]
        self._scales: list[Tensor] = [(q.scale if isinstance(q, LSQ) else q.clip).detach() for q in quantizers]
        self._before: tuple[Tensor, ...] = ()

    def __enter__(self) -> None:
        if self._scales:
            self._before = tuple(torch._foreach_mul(self._scales, 1.0 / FACTOR))

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._scales and error is None:
            torch._foreach_maximum_(self._scales, self._before)
            torch._foreach_minimum_(self._scales, torch._foreach_mul(self._before, FACTOR * FACTOR))
