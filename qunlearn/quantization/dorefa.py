"""DoReFa weights (Zhou et al., arXiv 1606.06160, section 2.3), the weight quantizer of PACT's paper.

    forward   2 Q(tanh(w) / (2 max|tanh w|) + 1/2) - 1,   Q(z) = round((2^b - 1) z) / (2^b - 1)      (equation 9)
    dw        (1 - tanh(w)^2) / max|tanh w|: tanh is differentiated, the maximum is a constant

With n = 2^b - 1 the levels are the odd multiples of 1/n from -1 to 1: code i in [0, n], value = (2/n) i - 1. Zero is
no level. There is nothing to learn. Brevitas is shown the odd integers 2i - n with scale 1/n and zero point 0.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from qunlearn.quantization.grid import work_dtype
from qunlearn.quantization.quantizer import Grid, Quantizer


class DoReFaFunction(torch.autograd.Function):
    """Levels of the normalised weights, with a straight-through gradient through the rounding alone."""

    @staticmethod
    def forward(ctx: Any, w: Tensor, codes: int, per_channel: bool) -> Tensor:
        """`w` of any shape; `codes` is 2^b - 1; one maximum per tensor or per row of dimension 0."""
        squashed = w.to(work_dtype(w)).tanh()
        dims = tuple(range(1, w.dim())) if per_channel else tuple(range(w.dim()))
        largest = squashed.abs().amax(dim=dims, keepdim=True).clamp_(min=torch.finfo(squashed.dtype).tiny)
        ctx.save_for_backward(squashed, largest)
        ctx.dtype = w.dtype
        place = (squashed / (2.0 * largest)).add_(0.5)
        return place.mul_(codes).round_().mul_(2.0).sub_(codes).div_(codes).to(w.dtype)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        squashed, largest = ctx.saved_tensors
        return ((1.0 - squashed * squashed) / largest * gradient).to(ctx.dtype), None, None


class DoReFa(Quantizer):
    """DoReFa's weight quantizer; used as Brevitas' `tensor_quant`, whose injector fills the arguments.

    Args:
        bit_width: 2 to 8.
        scale_shape: () for one maximum, [C, 1, ...] for one per output channel; the levels are the same for all.
    """

    title = "dorefa"

    def __init__(self, bit_width: int, scale_shape: tuple[int, ...]) -> None:
        super().__init__(low=0, high=2**bit_width - 1, scale_shape=scale_shape, is_weight=True)
        self.bit_width.add_(1.0)  # the odd integers need one bit more than the codes

    @property
    def signed(self) -> bool:
        return True

    def start(self, x: Tensor) -> None:
        """Nothing to learn, nothing to start."""

    def project(self) -> None:
        """Nothing to learn, nothing to keep in range."""

    def kernel(self, x: Tensor, *, may_overwrite: bool) -> Tensor:
        del may_overwrite
        return DoReFaFunction.apply(x, self.high, self.per_channel)  # type: ignore[no-any-return]

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor | None, Tensor | None, Tensor | None]:
        value, step, zero_point, bit_width = super().forward(x)
        return value, None if step is None else step / 2.0, zero_point, bit_width

    def grid(self) -> Grid:
        step = torch.full(self.scale_shape, 2.0 / self.high, device=self.bit_width.device)
        return Grid(step, torch.full_like(step, -1.0))
