"""Orthogonal projection of a flat gradient, and the inner products everything about it is read from.

All inner products are accumulated in float64: in float32 the sum over a million coordinates alone is wrong by more than
the residual that is promised. Vectors keep their own dtype.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

Scope = Literal["global", "layer"]
When = Literal["always", "conflict"]

RANK_TOLERANCE = 1e-14
"""Reference vectors whose normalised Gram matrix has an eigenvalue below this count as dependent."""
CHUNK = 2**18
"""Coordinates widened to float64 at a time: 2 MB, so that the few operands stay in a processor's cache."""
LINE = 8
"""Numbers of float64 in a cache line of 64 bytes."""


def block_grams(rows: Sequence[Tensor], blocks: Sequence[slice], *, metric: Tensor | None = None) -> Tensor:
    """Inner products of all pairs of the vectors `rows` (m of [n]) within each block: float64 [blocks, m, m].

    Args:
        metric: D [n]; the inner product is then <a, b>_D = sum_i D_i a_i b_i.
    """
    m = len(rows)
    pairs = [(i, j) for i in range(m) for j in range(i, m)]
    products = _products(rows, pairs, blocks, metric=metric)
    places = [pairs.index((min(i, j), max(i, j))) for i in range(m) for j in range(m)]
    return products[:, places].reshape(-1, m, m)


def _products(
    rows: Sequence[Tensor], pairs: Sequence[tuple[int, int]], blocks: Sequence[slice], *, metric: Tensor | None
) -> Tensor:
    """<rows[i], rows[j]> for each pair (i, j) within each block, float64 [blocks, pairs]."""
    table: list[Tensor] = []
    counts: list[int] = []
    memory = _wide_memory(len(rows), blocks, rows[0].device)
    for block in blocks:
        chunks = list(_chunks(block))
        counts.append(len(chunks))
        for chunk in chunks:
            wide = _widened(memory, rows, chunk)
            left = wide if metric is None else [row * metric[chunk] for row in wide]
            table += [torch.dot(left[i], wide[j]) for i, j in pairs]
    return _by_block(table, counts, pairs=len(pairs))


def _by_block(products: Sequence[Tensor], counts: Sequence[int], *, pairs: int) -> Tensor:
    """Sums [blocks, pairs] over the chunks of each block, of which there are `counts`."""
    parts = torch.split(torch.stack(list(products)).reshape(-1, pairs), list(counts))
    return torch.stack([part.sum(0) for part in parts])


def _chunks(block: slice) -> Iterator[slice]:
    for start in range(block.start, block.stop, CHUNK):
        yield slice(start, min(start + CHUNK, block.stop))


def _wide_memory(rows: int, blocks: Sequence[slice], device: torch.device) -> Tensor:
    """float64 [rows, at least the longest chunk], which every chunk is written to: new memory costs more than the sums.

    Rows begin at whole cache lines, so that the order of a sum, and with it its last bit, does not depend on the row.
    """
    longest = min(CHUNK, max((block.stop - block.start for block in blocks), default=0))
    return torch.empty(rows, -(-longest // LINE) * LINE, dtype=torch.float64, device=device)


def _widened(memory: Iterable[Tensor], rows: Iterable[Tensor], chunk: slice) -> list[Tensor]:
    """A chunk of each of `rows` in float64, in `memory`: good until the next chunk."""
    length = chunk.stop - chunk.start
    return [wide[:length].copy_(row[chunk]) for wide, row in zip(memory, rows, strict=True)]


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
    out: Tensor | None = None,
) -> Projection:
    """Remove from `vector` [n] its component in the span of `references` [k, n].

    One vector: g - (<g, r> / <r, r>) r, nothing where r = 0, no ridge. Several: the k x k Gram system, in which
    dependent references are harmless.

    Args:
        scope: `layer` projects each block by itself; it removes more, and what is left is orthogonal globally too.
        when: `conflict` projects only where <g, r> < 0 for the first reference.
        metric: D [n] of an oblique projection, g - (<g, r>_D / <r, r>_D) r: orthogonal after preconditioning with D.
        out: memory [n] for what is left, of its own.
    """
    rows = [vector, *references]
    grams = block_grams(rows, blocks)
    oblique = grams if metric is None else block_grams(rows, blocks, metric=metric)
    solved = oblique if scope == "layer" else oblique.sum(0, keepdim=True)
    products, inner = solved[:, 1:, 0], solved[:, 1:, 1:]
    applied = inner.diagonal(dim1=1, dim2=2).sum(1) > 0
    if when == "conflict":
        applied &= products[:, 0] < 0
    left, coefficients = vector, torch.zeros_like(products)
    grams_after, solved_after = grams, solved
    # Once is exact for one reference; a second pass removes what the rounding of an ill-conditioned solution left.
    for _ in range(1 if len(references) == 1 else 2):
        found = torch.where(applied[:, None], _solve(inner, solved_after[:, 1:, 0]), 0.0)
        left, products, weighed = _subtract(left, references, found, blocks, metric=metric, out=out)
        coefficients = coefficients + found
        grams_after = _with_first_row(grams, products)
        after = grams_after if metric is None else _with_first_row(oblique, weighed)
        solved_after = after if scope == "layer" else after.sum(0, keepdim=True)
    return Projection(
        vector=left,
        grams=grams,
        grams_after=grams_after,
        applied=applied,
        removed=torch.einsum("gk,gkl,gl->g", coefficients, inner, coefficients),
        residual=torch.where(applied, _residual(solved, solved_after), torch.nan),
    )


def _subtract(
    vector: Tensor,
    references: Tensor,
    coefficients: Tensor,
    blocks: Sequence[slice],
    *,
    metric: Tensor | None,
    out: Tensor | None,
) -> tuple[Tensor, Tensor, Tensor]:
    """vector [n] - coefficients [G, k] references [k, n], in float64 and rounded once; and its inner products.

    Coefficients of nearly dependent references are large and cancel, which float32 would not survive. The products of
    what is left with itself and with the references, float64 [blocks, 1 + k], without and with the metric, are taken
    while a chunk is in the cache.
    """
    left = torch.empty_like(vector) if out is None else out
    plain: list[Tensor] = []
    weighed: list[Tensor] = []
    counts: list[int] = []
    *memory, scratch = _wide_memory(2 + len(references), blocks, vector.device)
    for c, block in zip(coefficients.expand(len(blocks), -1), blocks, strict=True):
        chunks = list(_chunks(block))
        counts.append(len(chunks))
        for chunk in chunks:
            rounded, *wide = _widened(memory, (vector, *references), chunk)
            for row, factor in zip(wide, c, strict=True):
                rounded.sub_(torch.mul(row, factor, out=scratch[: len(row)]))
            rounded.copy_(left[chunk].copy_(rounded))
            plain += [torch.dot(rounded, row) for row in (rounded, *wide)]
            if metric is not None:
                scaled = rounded * metric[chunk]
                weighed += [torch.dot(scaled, row) for row in (rounded, *wide)]
    products = _by_block(plain, counts, pairs=1 + len(references))
    return left, products, products if metric is None else _by_block(weighed, counts, pairs=1 + len(references))


def _with_first_row(grams: Tensor, products: Tensor) -> Tensor:
    """`grams` [blocks, m, m] with `products` [blocks, m] in row and column 0."""
    result = grams.clone()
    result[:, 0, :] = products
    result[:, :, 0] = products
    return result


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
