"""Arithmetic shared by the kernels: rounding to a grid, in one trip through memory.

Elementwise work on activations is bound by memory, not by arithmetic. On the CPU a kernel therefore walks over flat
pieces that fit into the cache and does all of its operations on one piece before it takes the next. Tensors elsewhere,
and weights with a scale per channel, take the plain broadcasting path with the same formulas.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

PIECE = 2**19
"""Elements of one piece: 2 MB of float32, so that the few operands of a kernel stay in the cache."""


def work_dtype(x: Tensor) -> torch.dtype:
    """What codes are computed in: float32 also for bfloat16 and float16, which cannot tell 8-bit neighbours apart."""
    return torch.float64 if x.dtype == torch.float64 else torch.float32


def walks_in_pieces(x: Tensor, scale: Tensor) -> bool:
    """Whether `x` is walked in cache-sized pieces: on the CPU, with one scale for the whole tensor."""
    return x.device.type == "cpu" and scale.numel() == 1


def dense(x: Tensor) -> Tensor:
    """`x` itself where its elements fill one block in row-major or channels_last order, else a row-major copy."""
    if x.dim() == 4 and x.is_contiguous(memory_format=torch.channels_last):
        return x
    return x.contiguous()


def like(x: Tensor, *, layout: Tensor) -> Tensor:
    """`x` itself where it has the strides of the dense tensor `layout`, else a copy that has them."""
    return x if x.stride() == layout.stride() else torch.empty_like(layout, dtype=x.dtype).copy_(x)


def flat(x: Tensor) -> Tensor:
    """View [n] of all elements of a `dense` tensor, in memory order."""
    return x.view(-1) if x.is_contiguous() else x.permute(0, 2, 3, 1).view(-1)


def pieces(*tensors: Tensor) -> Iterator[tuple[Tensor, ...]]:
    """Corresponding flat views of dense tensors of one layout, at most `PIECE` elements each."""
    yield from zip(*(torch.split(flat(x), PIECE) for x in tensors), strict=True)


def round_to_grid(x: Tensor, step: Tensor, *, low: int, high: int) -> Tensor:
    """``step * round(clip(x / step, low, high))``, ties to even, in x's dtype and memory format.

    Args:
        step: positive, one element or broadcastable to x.
    """
    if not walks_in_pieces(x, step):
        codes = (x.to(work_dtype(x)) / step).clamp_(low, high).round_()
        return codes.mul_(step).to(x.dtype)
    x = dense(x)
    y = torch.empty_like(x)
    width, dtype = step.item(), work_dtype(x)
    for source, target in pieces(x, y):
        if x.dtype == dtype:
            round_piece(source, width, low=low, high=high, out=target)
        else:
            wide = source.to(dtype)
            target.copy_(round_piece(wide, width, low=low, high=high, out=wide))
    return y


def round_piece(x: Tensor, step: float, *, low: int, high: int, out: Tensor) -> Tensor:
    """`round_to_grid` of one piece in its own dtype, written to `out`, which may be x."""
    return torch.div(x, step, out=out).clamp_(low, high).round_().mul_(step)


def keep_inside(values: Tensor, x: Tensor, low: float, high: float, *, out: Tensor | None = None) -> Tensor:
    """`values` where low < x < high, else 0, in one pass; `out` may be `values`."""
    if out is None:
        out = torch.empty_like(values)
    # What the name of the operation hides: both ends are excluded.
    torch.ops.aten.hardtanh_backward(values, x, low, high, grad_input=out)
    return out


def target_gradient(gradient: Tensor, x: Tensor, *, may_overwrite: bool) -> tuple[Tensor, Tensor]:
    """The incoming gradient in x's layout, and the tensor that receives the outgoing one.

    Args:
        may_overwrite: the caller alone holds `gradient`, so both may be one tensor.
    """
    matching = like(gradient, layout=x)
    return matching, matching if may_overwrite or matching is not gradient else torch.empty_like(x)
