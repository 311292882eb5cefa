"""LSQ: learned step size quantization (Esser et al., arXiv 1902.08153).

    forward   x^ = s round(clip(x / s, Qn, Qp))                                             (equations 1, 2)
    dx        1 where Qn s < x < Qp s, else 0                                               (equation 5)
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
    keep_inside,
    pieces,
    round_piece,
    round_to_grid,
    target_gradient,
    walks_in_pieces,
    work_dtype,
)
from qunlearn.quantization.quantizer import SMALLEST, Grid, Quantizer


class LSQFunction(torch.autograd.Function):
    """The rounding with LSQ's gradients.

    Saves its input and its output; the convolution behind it keeps the output anyway. With those two, the gradient of
    the step needs no codes: what is in the brackets is (x^ - x)/s inside and x^/s outside.
    """

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
        y = round_to_grid(x, positive, low=low, high=high)
        ctx.save_for_backward(x, y, positive)
        ctx.settings = low, high, gradient_scale, may_overwrite
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        x, y, step = ctx.saved_tensors
        low, high, gradient_scale, may_overwrite = ctx.settings
        if walks_in_pieces(x, step):
            incoming, outgoing = target_gradient(gradient, x, may_overwrite=may_overwrite)
            total = _walk(incoming, x, y, step.item(), low=low, high=high, out=outgoing)
            return outgoing, torch.full_like(step, total * gradient_scale / step.item()), None, None, None, None
        wide = x.to(work_dtype(x))
        inside = (wide > low * step) & (wide < high * step)
        rounded = y if x.dtype == wide.dtype else round_to_grid(wide, step, low=low, high=high)
        error = (rounded - torch.where(inside, wide, 0.0)).mul_(gradient)
        ds = error.sum_to_size(step.shape).div(step).mul_(gradient_scale).to(step.dtype)
        return torch.where(inside, gradient, 0.0), ds, None, None, None, None


def _walk(gradient: Tensor, x: Tensor, y: Tensor, step: float, *, low: int, high: int, out: Tensor) -> float:
    """Write dx to `out`, which may be `gradient`, and return s times ds without its scale."""
    dtype, total = work_dtype(x), 0.0
    for source, rounded, above, below in pieces(x, y, gradient, out):
        wide = source.to(dtype)
        if source.dtype != dtype:
            # The output was rounded to few digits; the error of 8-bit codes would drown in that.
            rounded = round_piece(wide, step, low=low, high=high, out=torch.empty_like(wide))
        arriving = above.to(dtype)
        error = keep_inside(wide, wide, low * step, high * step)
        total += torch.dot(arriving, torch.sub(rounded, error, out=error)).item()
        if below.dtype == dtype:
            keep_inside(arriving, wide, low * step, high * step, out=below)
        else:
            below.copy_(keep_inside(arriving, wide, low * step, high * step))
    return total


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
        count = x.numel() // (self.scale.numel() if self.is_weight else x.shape[0] if x.dim() else 1)
        gradient_scale = 1.0 / math.sqrt(max(count, 1) * self.high)
        return LSQFunction.apply(x, self.scale, self.low, self.high, gradient_scale, may_overwrite)  # type: ignore[no-any-return]

    def grid(self) -> Grid:
        return Grid(self.scale.detach().clamp(min=SMALLEST), None)
