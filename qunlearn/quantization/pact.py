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

from qunlearn.quantization.grid import dense, pieces, round_to_grid, target_gradient, walks_in_pieces, work_dtype
from qunlearn.quantization.quantizer import SMALLEST, Grid, Quantizer


class PACTFunction(torch.autograd.Function):
    """Clip and round with PACT's gradients; saves nothing but its input."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, clip: Tensor, low: int, high: int, rectifies: bool, may_overwrite: bool
    ) -> Tensor:
        """`x` of any shape, `clip` of one element; returns x's shape and dtype.

        Args:
            low: 0, or -`high` for signed inputs.
            rectifies: a ReLU in front is contained in the clip, so the gradient at exactly 0 is the ReLU's: 0.
            may_overwrite: the gradient that arrives belongs to nobody else and may be changed in place.
        """
        positive = clip.clamp(min=SMALLEST)
        x = dense(x)
        ctx.save_for_backward(x, positive)
        # hardtanh_backward excludes both ends; the tiny number takes 0 itself in.
        bottom = -1.0 if low < 0 else 0.0 if rectifies else -torch.finfo(work_dtype(x)).tiny
        ctx.settings = bottom, may_overwrite
        return round_to_grid(x, positive / high, low=low, high=high)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        x, clip = ctx.saved_tensors
        bottom, may_overwrite = ctx.settings
        if walks_in_pieces(x, clip):
            incoming, outgoing = target_gradient(gradient, x, may_overwrite=may_overwrite)
            total, limit = 0.0, clip.item()
            for source, above, below in pieces(x, incoming, outgoing):
                total += _gradients(above, source, limit, bottom=bottom, out=below).item()
            return outgoing, torch.full_like(clip, total), None, None, None, None
        dx = torch.empty_like(x)
        da = _gradients(gradient, x, clip, bottom=bottom, out=dx)
        return dx, da.to(clip.dtype).reshape(clip.shape), None, None, None, None


def _gradients(gradient: Tensor, x: Tensor, clip: Tensor | float, *, bottom: float, out: Tensor) -> Tensor:
    """Write dx to `out`, which may be `gradient`, and return da."""
    dtype = work_dtype(x)
    relative = x.to(dtype, copy=True).div_(clip)
    arriving = gradient.to(dtype)
    # A ratio of two floats rounds to 1 only where they are equal, so truncation gives exactly sign(x) [|x| >= a].
    clipped = relative.clamp(-1.0 if bottom == -1.0 else 0.0, 1.0).trunc_()
    da = torch.dot(arriving, clipped) if x.dim() == 1 else clipped.mul_(arriving).sum()
    if out.dtype == dtype:
        torch.ops.aten.hardtanh_backward(arriving, relative, bottom, 1.0, grad_input=out)
    else:
        out.copy_(torch.ops.aten.hardtanh_backward(arriving, relative, bottom, 1.0))
    return da


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
