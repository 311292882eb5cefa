"""LSQ: learned step size quantization (Esser et al., arXiv 1902.08153).

    forward   x^ = s round(clip(x / s, Qn, Qp))                                             (equations 1, 2)
    dx        1 where Qn < x/s < Qp, else 0                                                 (equation 5)
    ds        (Qn where x/s <= Qn | Qp where x/s >= Qp | round(x/s) - x/s) / sqrt(N Qp)     (equation 3, section 2.2)

N is the number of elements per step size for weights, and per sample for activations.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from qunlearn.quantization.grid import (
    dense,
    pieces,
    round_to_grid,
    target_gradient,
    walks_in_pieces,
    work_dtype,
)
from qunlearn.quantization.quantizer import SMALLEST, Grid, Quantizer


class LSQFunction(torch.autograd.Function):
    """The rounding with LSQ's gradients; saves nothing but its input."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, step: Tensor, low: int, high: int, gradient_scale: float, may_overwrite: bool
    ) -> Tensor:
        """`x` of any shape, `step` of one element or broadcastable to x; returns x's shape and dtype.

        Args:
            gradient_scale: 1 / sqrt(N Qp).
            may_overwrite: the gradient that arrives belongs to nobody else and may be changed in place.
        """
        positive = step.clamp(min=SMALLEST)
        x = dense(x)
        ctx.save_for_backward(x, positive)
        ctx.settings = low, high, gradient_scale, may_overwrite
        return round_to_grid(x, positive, low=low, high=high)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        x, step = ctx.saved_tensors
        low, high, gradient_scale, may_overwrite = ctx.settings
        walk = _gradients_in_pieces if walks_in_pieces(x, step) else _gradients_by_broadcasting
        dx, ds = walk(gradient, x, step, low=low, high=high, may_overwrite=may_overwrite)
        return dx, ds.mul_(gradient_scale), None, None, None, None


def _gradients_by_broadcasting(
    gradient: Tensor, x: Tensor, step: Tensor, *, low: int, high: int, may_overwrite: bool
) -> tuple[Tensor, Tensor]:
    del may_overwrite  # nothing to gain: memory traffic is not what this path is about
    v = x.to(work_dtype(x)) / step
    inside = (v > low) & (v < high)
    slope = v.clamp(low, high).round_().sub_(torch.where(inside, v, 0.0))
    ds = slope.mul_(gradient).sum_to_size(step.shape).to(step.dtype)
    return torch.where(inside, gradient, 0.0), ds


def _gradients_in_pieces(
    gradient: Tensor, x: Tensor, step: Tensor, *, low: int, high: int, may_overwrite: bool
) -> tuple[Tensor, Tensor]:
    incoming, outgoing = target_gradient(gradient, x, may_overwrite=may_overwrite)
    width, dtype, total = step.item(), work_dtype(x), 0.0
    for source, above, below in pieces(x, incoming, outgoing):
        v = source.to(dtype, copy=True).div_(width)
        slope = v.clamp(low, high).round_()
        # `hardtanh_backward(a, v, low, high)` is a where low < v < high and 0 elsewhere, in one pass.
        arriving = above.to(dtype)
        torch.ops.aten.hardtanh_backward(v, v, low, high, grad_input=(inside := torch.empty_like(v)))
        total += torch.dot(arriving, slope.sub_(inside)).item()
        if below.dtype == dtype:
            torch.ops.aten.hardtanh_backward(arriving, v, low, high, grad_input=below)
        else:
            below.copy_(torch.ops.aten.hardtanh_backward(arriving, v, low, high))
    return outgoing, torch.full_like(step, total)


class LSQ(Quantizer):
    """One tensor's LSQ quantizer; used as Brevitas' `tensor_quant`, whose injector fills the arguments.

    Args:
        bit_width: 2 to 8.
        signed: codes from -2^(b-1) to 2^(b-1) - 1, else from 0 to 2^b - 1.
        scale_shape: () for one step size, [C, 1, ...] for one per output channel.
        is_weight: which of the paper's two N scales the step's gradient.
    """

    title = "lsq"

    def __init__(self, bit_width: int, signed: bool, scale_shape: tuple[int, ...], is_weight: bool) -> None:
        low, high = (-(2 ** (bit_width - 1)), 2 ** (bit_width - 1) - 1) if signed else (0, 2**bit_width - 1)
        super().__init__(low=low, high=high, scale_shape=scale_shape, is_weight=is_weight)
        self.scale = nn.Parameter(torch.ones(scale_shape))

    @torch.no_grad()
    def start(self, x: Tensor) -> None:
        """``2 mean|x| / sqrt(Qp)``, section 2.1."""
        magnitude = self.reduce(x.detach().to(work_dtype(x)).abs(), "mean")
        self.scale.copy_((magnitude * (2.0 / math.sqrt(self.high))).clamp_(min=SMALLEST))

    @torch.no_grad()
    def project(self) -> None:
        """Keep the latent step size positive; `.data`, since an earlier forward may still await its backward."""
        self.scale.data.clamp_(min=SMALLEST)

    def kernel(self, x: Tensor, *, may_overwrite: bool) -> Tensor:
        count = x.numel() // (self.scale.numel() if self.is_weight else max(len(x), 1))
        gradient_scale = 1.0 / math.sqrt(max(count, 1) * self.high)
        return LSQFunction.apply(x, self.scale, self.low, self.high, gradient_scale, may_overwrite)  # type: ignore[no-any-return]

    def grid(self) -> Grid:
        return Grid(self.scale.detach().clamp(min=SMALLEST), None)
