"""PACT: parameterized clipping activation (Choi et al., arXiv 1805.06085, section 3).

    forward   clip(x, 0, a) rounded to multiples of a / (2^b - 1)                       (equations 1, 2)
    dx        1 where 0 <= x < a, else 0                                                 (equation 3)
    da        1 where x >= a, else 0: the rounding contributes nothing                    (equation 3)

A signed input (an extension: the paper has ReLU networks only) is clipped to [-a, a] and rounded to multiples of
a / (2^(b-1) - 1), so that zero stays a level; then dx is 1 where |x| < a, and da is sign(x) where |x| >= a.
The clip starts at the largest magnitude of the first batch, so that at first nothing is clipped; its L2 penalty lets it
shrink. The paper names no starting value.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from qunlearn.quantization.grid import (
    dense,
    keep_inside,
    pieces,
    round_to_grid,
    target_gradient,
    walks_in_pieces,
    work_dtype,
)
from qunlearn.quantization.quantizer import SMALLEST, Grid, Quantizer


class PACTFunction(torch.autograd.Function):
    """Clip and round with PACT's gradients.

    Saves its input and its output; the convolution behind it keeps the output anyway. What the clip cut off is where
    the gradient does not pass and the output is not 0, and there the output is the clip or its negative.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, clip: Tensor, low: int, high: int, rectifies: bool, may_overwrite: bool) -> Tensor:
        """`x` of any shape, `clip` of one element; returns x's shape and dtype.

        Args:
            low: 0, or -`high` for signed inputs.
            rectifies: a ReLU in front is contained in the clip, so the gradient at exactly 0 is the ReLU's: 0.
            may_overwrite: the gradient that arrives belongs to nobody else and may be changed in place.
        """
        positive = clip.clamp(min=SMALLEST)
        x = dense(x)
        step = positive / high
        y = round_to_grid(x, step, low=low, high=high)
        ctx.save_for_backward(x, y, positive, (step * high).to(y.dtype))
        ctx.settings = low < 0, rectifies, may_overwrite
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        x, y, clip, top = ctx.saved_tensors
        signed, rectifies, may_overwrite = ctx.settings
        if walks_in_pieces(x, clip):
            incoming, outgoing = target_gradient(gradient, x, may_overwrite=may_overwrite)
            limit = clip.item()
            # `keep_inside` excludes both ends; the tiny number takes 0 itself in.
            bottom = -limit if signed else 0.0 if rectifies else -torch.finfo(work_dtype(x)).tiny
            total = _walk(incoming, x, y, bottom, limit, out=outgoing)
            return outgoing, torch.full_like(clip, total / top.item()), None, None, None, None
        wide = x.to(work_dtype(x))
        above_bottom = wide > -clip if signed else wide > 0.0 if rectifies else wide >= 0.0
        passes = above_bottom & (wide < clip)
        da = torch.where(passes, 0.0, y).to(wide.dtype).mul_(gradient).sum().div(top).to(clip.dtype)
        return torch.where(passes, gradient, 0.0), da.reshape(clip.shape), None, None, None, None


def _walk(gradient: Tensor, x: Tensor, y: Tensor, bottom: float, limit: float, *, out: Tensor) -> float:
    """Write dx to `out`, which may be `gradient`, and return da times the clip."""
    dtype, total = work_dtype(x), 0.0
    for source, rounded, above, below in pieces(x, y, gradient, out):
        arriving = above.to(dtype)
        passing = keep_inside(arriving, source.to(dtype), bottom, limit)
        total += torch.dot(arriving - passing, rounded.to(dtype)).item()
        below.copy_(passing)
    return total


class PACT(Quantizer):
    """PACT's activation quantizer; used as Brevitas' `tensor_quant`, whose injector fills the arguments.

    Args:
        bit_width: 2 to 8.
        signed: clip to [-a, a], codes from -(2^(b-1) - 1); else to [0, a], codes from 0.
    """

    title = "pact"

    def __init__(self, bit_width: int, signed: bool) -> None:
        high = 2 ** (bit_width - 1) - 1 if signed else 2**bit_width - 1
        super().__init__(low=-high if signed else 0, high=high, scale_shape=(), is_weight=False)
        self.clip = nn.Parameter(torch.ones(()))

    @torch.no_grad()
    def start(self, x: Tensor) -> None:
        """The largest magnitude that can be represented without clipping."""
        largest = x.detach().abs().amax() if self.signed else x.detach().amax()
        self.clip.copy_(largest.clamp_(min=SMALLEST))

    @torch.no_grad()
    def project(self) -> None:
        """Keep the latent clip positive; through `.data`, since an earlier forward may still await its backward."""
        self.clip.data.clamp_(min=SMALLEST)

    def kernel(self, x: Tensor, *, may_overwrite: bool) -> Tensor:
        return PACTFunction.apply(x, self.clip, self.low, self.high, self.rectifies, may_overwrite)  # type: ignore[no-any-return]

    def grid(self) -> Grid:
        return Grid(self.clip.detach().clamp(min=SMALLEST) / self.high, None)
