"""Removing from a vector its component in the span of two others: one 2 x 2 Gram system in float64."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from qunlearn.unlearning.projection import CHUNK, block_grams, cosine

RIDGE = 1e-8
"""Added to the diagonal of the Gram matrix of the two vectors at length 1."""


@dataclass(frozen=True)
class Removal:
    """What is left of a vector, and what was measured on the way; all figures are float64.

    Args:
        vector: [n], orthogonal to both basis vectors up to ridge and rounding.
        coefficients: [2], of the basis vectors in what was removed.
        before: cosines of the input with both basis vectors, [2]; 0 with one that is zero.
        after: cosines of what is left, [2]. Where little is left they are rounding noise.
        residual: the larger |<vector, b>| / (|input| |b|) over the basis vectors b, a scalar.
        between: cosine of the two basis vectors, a scalar.
        norms: of the input, of what is left, and of both basis vectors, [4].
    """

    vector: Tensor
    coefficients: Tensor
    before: Tensor
    after: Tensor
    residual: Tensor
    between: Tensor
    norms: Tensor


def remove_span(
    vector: Tensor, basis: tuple[Tensor, Tensor], blocks: Sequence[slice], *, out: Tensor | None = None
) -> Removal:
    """`vector` [n] - its projection onto the span of the two vectors of `basis`, [n] each.

    The ridge is relative: it is added after both vectors have been scaled to length 1. An absolute one would tie the
    result to the scale of the losses: of a gradient of length 1e-4, which a confident network has, half of the
    component would stay. A relative one leaves a share of 1e-8 of the component along a single vector, and at most 4e-5
    of the input's length where the two are almost parallel. A zero vector spans nothing and gets the coefficient 0.

    Args:
        blocks: slices that cover [0, n), in which inner products are accumulated.
        out: memory [n] for what is left.
    """
    first, second = basis
    gram = block_grams([vector, first, second], blocks).sum(0)
    lengths = gram.diagonal().clamp_min(0.0).sqrt()
    inverse = torch.where(lengths > 0, 1.0 / lengths, 0.0)[1:]
    between = gram[1, 2] * inverse[0] * inverse[1]
    along = gram[0, 1:] * inverse
    # (1 + r)^2 - c^2, as a product since the difference of the squares loses the digits that the ridge is about.
    determinant = (1.0 + RIDGE - between) * (1.0 + RIDGE + between)
    coefficients = inverse * ((1.0 + RIDGE) * along - between * along.flip(0)) / determinant
    left, after = _subtract(vector, basis, coefficients, out=out)
    remaining = after[0].clamp_min(0.0).sqrt()
    scale = torch.where(lengths[0] > 0, inverse / lengths[0], 0.0)
    return Removal(
        vector=left,
        coefficients=coefficients,
        before=torch.stack([cosine(gram[:2, :2]), cosine(gram[::2, ::2])]),
        after=torch.where(remaining > 0, after[1:] * inverse / remaining, 0.0),
        residual=(after[1:].abs() * scale).amax(),
        between=between,
        norms=torch.stack([lengths[0], remaining, lengths[1], lengths[2]]),
    )


def _subtract(
    vector: Tensor, basis: tuple[Tensor, Tensor], coefficients: Tensor, *, out: Tensor | None
) -> tuple[Tensor, Tensor]:
    """vector - c_0 b_0 - c_1 b_1, in float64 and rounded once: the terms of almost parallel vectors are large.

    Also its inner products with itself and both basis vectors, float64 [3], taken while a chunk is in the cache.
    """
    left = torch.empty_like(vector) if out is None else out
    products: list[Tensor] = []
    for start in range(0, len(vector), CHUNK):
        part = slice(start, start + CHUNK)
        first, second = (b[part].double() for b in basis)
        rounded = vector[part].double() - coefficients[0] * first - coefficients[1] * second
        left[part] = rounded
        rounded.copy_(left[part])
        products += [torch.dot(rounded, row) for row in (rounded, first, second)]
    return left, torch.stack(products).reshape(-1, 3).sum(0)
