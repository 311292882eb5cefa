"""Orthogonal projection of a flat gradient, and the inner products everything about it is read from.

All inner products are accumulated in float64: in float32 the sum over a million coordinates alone is wrong by more than
the residual that is promised. Vectors keep their own dtype.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

Scope = Literal["global", "layer"]
When = Literal["always", "conflict"]

RANK_TOLERANCE = 1e-14
"""Reference vectors whose normalised Gram matrix has an eigenvalue below this count as dependent."""


def block_grams(rows: Tensor, blocks: Sequence[slice], *, metric: Tensor | None = None) -> Tensor:
    """Inner products of all pairs of `rows` [m, n] within each block: float64 [blocks, m, m].

    Args:
        metric: D [n]; the inner product is then <a, b>_D = sum_i D_i a_i b_i.
    """
    wide = rows.double()
    weighted = wide if metric is None else wide * metric
    return torch.stack([wide[:, block] @ weighted[:, block].T for block in blocks])


@dataclass(frozen=True)
class Projection:
    """A projected vector and what was measured on the way; G groups are the blocks, or one group in global scope.

    Args:
        vector: [n], what is left of the input.
        grams: float64 [blocks, 1 + k, 1 + k] of the input (row 0) and the references, per block.
        grams_after: the same for the projected vector (row 0).
        applied: bool [G], where something was projected.
        removed: float64 [G], squared length of what was removed.
        residual: float64 [G], the largest |<vector, r>| / (|input| |r|) over the references r; NaN where not applied.
    """

    vector: Tensor
    grams: Tensor
    grams_after: Tensor
    applied: Tensor
    removed: Tensor
    residual: Tensor

    def largest_residual(self) -> Tensor:
        """Over all groups where something was projected, a scalar; NaN where nothing was."""
        largest = torch.nan_to_num(self.residual, nan=-1.0).amax()
        return torch.where(largest < 0, torch.nan, largest)


def project(
    vector: Tensor,
    references: Tensor,
    blocks: Sequence[slice],
    *,
    scope: Scope = "global",
    when: When = "always",
    metric: Tensor | None = None,
) -> Projection:
    """Remove from `vector` [n] its component in the span of `references` [k, n].

    One vector: g - (<g, r> / <r, r>) r, nothing where r = 0, no ridge. Several: the k x k Gram system, in which
    dependent references are harmless.

    Args:
        scope: `layer` projects each block by itself; it removes more, and what is left is orthogonal globally too.
        when: `conflict` projects only where <g, r> < 0 for the first reference.
        metric: D [n] of an oblique projection, g - (<g, r>_D / <r, r>_D) r: orthogonal after preconditioning with D.
    """
    rows = torch.cat([vector[None], references]).double()
    grams = block_grams(rows, blocks)
    oblique = grams if metric is None else block_grams(rows, blocks, metric=metric)
    groups = list(blocks) if scope == "layer" else [slice(0, vector.numel())]
    solved = oblique if scope == "layer" else oblique.sum(0, keepdim=True)
    products, inner = solved[:, 1:, 0], solved[:, 1:, 1:]
    applied = inner.diagonal(dim1=1, dim2=2).sum(1) > 0
    if when == "conflict":
        applied &= products[:, 0] < 0
    coefficients = torch.where(applied[:, None], _solve(inner, products), 0.0)
    left = torch.empty_like(vector)
    for group, c in zip(groups, coefficients, strict=True):
        left[group] = (rows[0, group] - c @ rows[1:, group]).to(vector.dtype)
    rows[0] = left  # what is measured is the rounded result
    grams_after = block_grams(rows, blocks)
    solved_after = grams_after if metric is None else block_grams(rows, blocks, metric=metric)
    if scope == "global":
        solved_after = solved_after.sum(0, keepdim=True)
    return Projection(
        vector=left,
        grams=grams,
        grams_after=grams_after,
        applied=applied,
        removed=torch.einsum("gk,gkl,gl->g", coefficients, inner, coefficients),
        residual=torch.where(applied, _residual(solved, solved_after), torch.nan),
    )


def _solve(inner: Tensor, products: Tensor) -> Tensor:
    """Coefficients [G, k] of the projection onto references with Gram matrices `inner` [G, k, k]."""
    if inner.shape[1] == 1:
        return _ratio(products, inner[:, 0])
    scale = _ratio(torch.ones_like(products), inner.diagonal(dim1=1, dim2=2).clamp_min(0.0).sqrt())
    unit = scale[:, :, None] * inner * scale[:, None, :]
    inverse = torch.linalg.pinv(unit, hermitian=True, rtol=RANK_TOLERANCE)
    coefficients: Tensor = scale * (inverse @ (scale * products)[:, :, None])[:, :, 0]
    return coefficients


def _residual(before: Tensor, after: Tensor) -> Tensor:
    lengths = before.diagonal(dim1=1, dim2=2).clamp_min(0.0).sqrt()
    return _ratio(after[:, 1:, 0].abs(), lengths[:, :1] * lengths[:, 1:]).amax(1)


def _ratio(numerator: Tensor, denominator: Tensor) -> Tensor:
    """Elementwise quotient, 0 where the denominator is 0."""
    quotient: Tensor = torch.where(denominator > 0, numerator / denominator, 0.0)
    return quotient


def cosine(gram: Tensor) -> Tensor:
    """Cosine of the first two rows from Gram matrices [..., m, m], 0 where one of them is zero: [...]."""
    lengths = (gram[..., 0, 0] * gram[..., 1, 1]).clamp_min(0.0).sqrt()
    return _ratio(gram[..., 0, 1], lengths)
