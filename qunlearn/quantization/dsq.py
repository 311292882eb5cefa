"""DSQ: differentiable soft quantization (Gong et al., arXiv 1908.05033, section 3).

    clip to [l, u];  D = (u - l) / n, n = 2^b - 1;  cell i = floor((x - l) / D), its middle m_i = l + (i + 1/2) D
    phi = tanh(k (x - m_i)) / tanh(k D / 2)                                              (equations 4, 5)
    forward  l + D (i + (sgn(phi) + 1) / 2), sgn(0) = +1;  backward through phi           (equations 6, 7)
    k from the learnable a in (0, 1/2): 1 - a = tanh(k D / 2)                             (equations 8, 9)

With c = artanh(1 - a), v = (x - l) / D and r = v - i - 1/2 this is phi = tanh(2 c r) / (1 - a), whatever D is. Writing
q = i + (sgn(phi) + 1) / 2 for the code and p = c (1 - tanh(2 c r)^2) / (1 - a) for the slope, the gradients are

    dx  p        inside [l, u], else 0
    dl  1 - q/n - p (1 - v/n)  inside;  1 below l;  0 above u
    du  q/n - p v/n            inside;  0 below l;  1 above u
    da  (D/2) (tanh(2 c r) / (1 - a)^2 - 2 r (1 - tanh(2 c r)^2) / ((1 - a) (1 - (1 - a)^2)))

The clips start at the smallest and largest value of the first tensor (weights: symmetric; unsigned: from 0).
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from qunlearn.quantization.grid import dense, pieces, target_gradient, walks_in_pieces, work_dtype
from qunlearn.quantization.quantizer import SMALLEST, Grid, Quantizer

START_ALPHA = 0.2
ALPHA_RANGE = (1e-3, 0.499)
"""The open interval (0, 1/2), kept off its ends, where the slope is infinite or the curve no longer bends."""


def phi(r: Tensor, top: Tensor) -> Tensor:
    """The soft step of a cell, -1 and 1 at its ends.

    Args:
        r: place relative to the cell's middle, in cells: from -1/2 to 1/2.
        top: 1 - a.
    """
    return torch.tanh(2.0 * torch.atanh(top) * r) / top


class DSQFunction(torch.autograd.Function):
    """Hard rounding forward, DSQ's soft curve backward; saves its input."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, lower: Tensor, upper: Tensor, alpha: Tensor, levels: int, may_overwrite: bool
    ) -> Tensor:
        """`x` of any shape; `lower`, `upper` of one element or broadcastable; returns x's shape and dtype.

        Args:
            levels: n = 2^b - 1.
            may_overwrite: the gradient that arrives belongs to nobody else and may be changed in place.
        """
        step = ((upper - lower) / levels).clamp(min=SMALLEST)
        x = dense(x)
        ctx.save_for_backward(x, lower, step, alpha.clamp(*ALPHA_RANGE))
        ctx.settings = levels, may_overwrite
        if not walks_in_pieces(x, step):
            return _round(x.to(work_dtype(x)), lower, step, levels).to(x.dtype)
        y = torch.empty_like(x)
        # One channel's clips are [1, 1, ...]; pieces are flat.
        lower, step = lower.reshape(()), step.reshape(())
        for source, target in pieces(x, y):
            target.copy_(_round(source.to(work_dtype(x)), lower, step, levels))
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        x, lower, step, alpha = ctx.saved_tensors
        levels, may_overwrite = ctx.settings
        dtype = work_dtype(x)
        if not walks_in_pieces(x, step):
            dx, *others = _gradients(gradient.to(dtype), x.to(dtype), lower, step, alpha, levels)
            sums = [each.sum_to_size(p.shape) for each, p in zip(others, (lower, lower, alpha), strict=True)]
            return dx.to(x.dtype), *(total.to(alpha.dtype) for total in sums), None, None
        incoming, outgoing = target_gradient(gradient, x, may_overwrite=may_overwrite)
        totals = torch.zeros(3, dtype=torch.float64)
        flat_lower, flat_step = lower.reshape(()), step.reshape(())
        for source, above, below in pieces(x, incoming, outgoing):
            dx, *others = _gradients(above.to(dtype), source.to(dtype), flat_lower, flat_step, alpha, levels)
            totals += torch.stack([each.sum() for each in others])
            below.copy_(dx)
        dl, du, da = totals.to(alpha.dtype)
        return outgoing, dl.reshape(lower.shape), du.reshape(lower.shape), da.reshape(alpha.shape), None, None


def _round(x: Tensor, lower: Tensor, step: Tensor, n: int) -> Tensor:
    """A cell's middle goes up: floor(v + 1/2) is i + (sgn(phi) + 1)/2 with sgn(0) = +1."""
    return ((x - lower) / step).clamp_(0, n).add_(0.5).floor_().mul_(step).add_(lower)


def _gradients(
    gradient: Tensor, x: Tensor, lower: Tensor, step: Tensor, alpha: Tensor, n: int
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Element by element: dx, and the contributions to dl, du and da."""
    raw = (x - lower) / step
    v = raw.clamp(0, n)
    inside = raw == v
    code = (v + 0.5).floor_()
    r = v - v.floor().clamp_(max=n - 1) - 0.5
    top = 1.0 - alpha.to(r.dtype)
    soft = phi(r, top)
    flatness = 1.0 - (soft * top).square_()
    slope = torch.where(inside, torch.atanh(top) / top * flatness, 0.0)
    du = (code - slope * v) / n
    dl = 1.0 - slope - du
    da = 0.5 * step * (soft / top - 2.0 * r * flatness / (top * (1.0 - top * top)))
    return slope.mul_(gradient), dl.mul_(gradient), du.mul_(gradient), da.mul_(gradient)


class DSQ(Quantizer):
    """DSQ's quantizer; used as Brevitas' `tensor_quant`, whose injector fills the arguments.

    Args:
        bit_width: 2 to 8; codes from 0 to 2^b - 1, value = D code + l.
        signed: whether the clips start on both sides of zero.
        scale_shape: () for one pair of clips, [C, 1, ...] for one per output channel.
        is_weight: start with symmetric clips.
    """

    title = "dsq"
    shows_integers = False

    def __init__(self, bit_width: int, signed: bool, scale_shape: tuple[int, ...], is_weight: bool) -> None:
        super().__init__(low=0, high=2**bit_width - 1, scale_shape=scale_shape, is_weight=is_weight)
        self._starts_signed = signed
        self.lower = nn.Parameter(torch.full(scale_shape, -1.0 if signed else 0.0))
        self.upper = nn.Parameter(torch.ones(scale_shape))
        self.alpha = nn.Parameter(torch.tensor(START_ALPHA))

    @property
    def signed(self) -> bool:
        return self._starts_signed

    @torch.no_grad()
    def start(self, x: Tensor) -> None:
        values = x.detach().to(work_dtype(x))
        largest = self.reduce(values.abs() if self.is_weight else values, "amax")
        smallest = -largest if self.is_weight else self.reduce(values, "amin")
        self.lower.copy_(smallest if self.signed else torch.zeros_like(smallest))
        self.upper.copy_(largest)
        self.project()

    @torch.no_grad()
    def project(self) -> None:
        """Keep u above l and alpha in its interval; `.data`, since an earlier forward may await its backward."""
        self.upper.data.copy_(torch.maximum(self.upper, self.lower + SMALLEST * self.high))
        self.alpha.data.clamp_(*ALPHA_RANGE)

    def kernel(self, x: Tensor, *, may_overwrite: bool) -> Tensor:
        return DSQFunction.apply(x, self.lower, self.upper, self.alpha, self.high, may_overwrite)  # type: ignore[no-any-return]

    def grid(self) -> Grid:
        lower = self.lower.detach().clone()
        return Grid(((self.upper.detach() - lower) / self.high).clamp_(min=SMALLEST), lower)
