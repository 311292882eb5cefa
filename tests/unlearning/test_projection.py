"""The projection against a slow reference, and the residual that is promised."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from qunlearn.unlearning import projection
from qunlearn.unlearning.projection import block_grams, cosine, project

DEVICES = [
    "cpu",
    pytest.param(
        "cuda", marks=[pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")]
    ),
]
BOUND = 1e-6


def slow_projection(vector, references, blocks, *, scope):
    """Least squares in float64, group by group."""
    left = vector.double().numpy().copy()
    for group in blocks if scope == "layer" else [slice(0, len(left))]:
        basis = references[:, group].double().numpy().T
        coefficients = np.linalg.lstsq(basis, left[group], rcond=None)[0]
        left[group] = left[group] - basis @ coefficients
    return left


def slow_residual(left, vector, references, group):
    cut = [v[group].double() for v in (left, vector)]
    lengths = [cut[1].norm() * r[group].double().norm() for r in references]
    return max(float((cut[0] @ r[group].double()).abs() / n) for r, n in zip(references, lengths, strict=True) if n > 0)


def blocks_of(sizes):
    ends = np.cumsum(sizes)
    return [slice(int(end - size), int(end)) for size, end in zip(sizes, ends, strict=True)]


@st.composite
def cases(draw):
    sizes = draw(st.lists(st.integers(2, 40), min_size=1, max_size=5))
    k = draw(st.integers(1, 4))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**31)))
    n = sum(sizes)
    references = torch.randn(k, n, generator=generator) * 10 ** draw(st.floats(-4, 4))
    parallel = draw(st.sampled_from([0.0, 1.0, 1e3, 1e6]))
    vector = torch.randn(n, generator=generator) + parallel * references[0]
    return vector, references, blocks_of(sizes)


@pytest.mark.parametrize("scope", ["global", "layer"])
@given(case=cases())
@settings(max_examples=60, deadline=None)
def test_what_is_left_is_orthogonal_to_every_reference_in_float32(case, scope):
    vector, references, blocks = case
    result = project(vector, references, blocks, scope=scope)
    groups = blocks if scope == "layer" else [slice(0, len(vector))]
    for group in groups:
        assert slow_residual(result.vector, vector, references, group) < BOUND
    assert float(result.largest_residual()) < BOUND
    assert result.vector.dtype == torch.float32


@pytest.mark.parametrize("scope", ["global", "layer"])
@given(case=cases())
@settings(max_examples=40, deadline=None)
def test_it_equals_least_squares(case, scope):
    vector, references, blocks = case
    result = project(vector.double(), references.double(), blocks, scope=scope)
    expected = slow_projection(vector, references, blocks, scope=scope)
    assert np.abs(result.vector.numpy() - expected).max() <= 1e-7 * float(vector.double().norm())


@pytest.mark.parametrize("chunk", [1, 3, 2**20])
def test_the_size_of_chunks_changes_nothing_but_rounding(monkeypatch, chunk):
    monkeypatch.setattr(projection, "CHUNK", chunk)
    rows = torch.arange(12.0).reshape(2, 6)
    grams = block_grams(list(rows), [slice(0, 4), slice(4, 6)])
    expected = torch.tensor([[[14.0, 50.0], [50.0, 230.0]], [[41.0, 95.0], [95.0, 221.0]]])
    assert torch.equal(grams, expected.double())


def test_a_projection_by_hand():
    result = project(torch.tensor([3.0, 4.0]), torch.tensor([[0.0, 2.0]]), [slice(0, 2)])
    assert result.vector.tolist() == [3.0, 0.0]
    assert result.removed.tolist() == [16.0]
    assert float(cosine(result.grams.sum(0))) == pytest.approx(0.8)
    assert float(cosine(result.grams_after.sum(0))) == 0.0
    assert result.applied.tolist() == [True]


@pytest.mark.parametrize("scope", ["global", "layer"])
@pytest.mark.parametrize("k", [1, 3])
def test_zero_references_leave_the_vector_unchanged(scope, k):
    vector = torch.randn(7, generator=torch.Generator().manual_seed(0))
    result = project(vector, torch.zeros(k, 7), [slice(0, 3), slice(3, 7)], scope=scope)
    assert torch.equal(result.vector, vector)
    assert not result.applied.any()
    assert result.largest_residual().isnan()


def test_a_layer_without_retain_gradient_keeps_its_forget_gradient():
    vector, reference = torch.tensor([1.0, 2.0, 3.0, 4.0]), torch.tensor([[1.0, 1.0, 0.0, 0.0]])
    result = project(vector, reference, [slice(0, 2), slice(2, 4)], scope="layer")
    assert result.vector.tolist() == [-0.5, 0.5, 3.0, 4.0]
    assert result.applied.tolist() == [True, False]


@pytest.mark.parametrize("copies", [2, 3])
def test_dependent_references_count_once(copies):
    generator = torch.Generator().manual_seed(3)
    vector, reference = torch.randn(50, generator=generator), torch.randn(1, 50, generator=generator)
    many = torch.cat([reference * (i + 1.0) for i in range(copies)] + [torch.zeros(1, 50)])
    once, often = (project(vector, r, [slice(0, 50)]) for r in (reference, many))
    torch.testing.assert_close(once.vector, often.vector)
    assert float(often.largest_residual()) < BOUND


@pytest.mark.parametrize("distance", [1e-2, 1e-4, 1e-6, 1e-8])
def test_nearly_dependent_references_stay_below_the_bound(distance):
    generator = torch.Generator().manual_seed(4)
    vector, first, other = torch.randn(3, 4000, generator=generator)
    references = torch.stack([first, first + distance * other])
    result = project(vector, references, [slice(0, 4000)])
    assert slow_residual(result.vector, vector, references, slice(0, 4000)) < BOUND
    assert float(result.vector.norm()) > 0.9 * float(vector.norm())


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("scope", ["global", "layer"])
def test_the_bound_holds_for_a_million_coordinates(device, scope):
    generator = torch.Generator().manual_seed(5)
    vector, reference = torch.randn(2, 1_500_000, generator=generator).to(device)
    vector = vector + 3.0 * reference
    blocks = blocks_of([2, 1_199_998, 300_000])
    result = project(vector, reference[None], blocks, scope=scope)
    assert float(result.largest_residual()) < BOUND
    cut = [v.cpu() for v in (result.vector, vector, reference)]
    groups = blocks if scope == "layer" else [slice(0, 1_500_000)]
    assert max(slow_residual(cut[0], cut[1], cut[2][None], group) for group in groups) < BOUND


def test_layer_scope_is_orthogonal_globally_too_and_removes_more():
    generator = torch.Generator().manual_seed(6)
    vector, reference = torch.randn(2, 30, generator=generator)
    blocks = blocks_of([10, 20])
    whole, by_layer = (project(vector, reference[None], blocks, scope=s) for s in ("global", "layer"))
    assert abs(float(by_layer.vector @ reference)) < 1e-5
    assert by_layer.removed.sum() > whole.removed.sum()


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_conflict_projects_only_gradients_that_point_apart(sign):
    vector, reference = torch.tensor([sign, 1.0]), torch.tensor([[1.0, 0.0]])
    result = project(vector, reference, [slice(0, 2)], when="conflict")
    assert result.vector.tolist() == ([1.0, 1.0] if sign > 0 else [0.0, 1.0])
    assert bool(result.applied) == (sign < 0)
    assert bool(result.residual.isnan()) == (sign > 0)


def test_conflict_is_decided_layer_by_layer():
    vector, reference = torch.tensor([1.0, 1.0, -1.0, 1.0]), torch.tensor([[1.0, 0.0, 1.0, 0.0]])
    result = project(vector, reference, [slice(0, 2), slice(2, 4)], scope="layer", when="conflict")
    assert result.vector.tolist() == [1.0, 1.0, 0.0, 1.0]


@pytest.mark.parametrize("scope", ["global", "layer"])
def test_an_oblique_projection_is_orthogonal_after_preconditioning(scope):
    generator = torch.Generator().manual_seed(7)
    vector, reference = torch.randn(2, 40, generator=generator, dtype=torch.float64)
    metric = torch.rand(40, generator=generator, dtype=torch.float64) + 0.1
    result = project(vector, reference[None], blocks_of([15, 25]), scope=scope, metric=metric)
    assert abs(float((metric * result.vector) @ reference)) < 1e-12
    assert abs(float(result.vector @ reference)) > 1e-3


def test_projecting_tensor_by_tensor_would_erase_the_gradient_of_a_scalar_scale():
    """Two vectors of one element are always parallel; in its layer's block a scale keeps a forget gradient."""
    generator = torch.Generator().manual_seed(8)
    vector, reference = torch.randn(2, 10, generator=generator)
    by_layer = project(vector, reference[None], [slice(0, 10)], scope="layer").vector
    by_tensor = project(vector, reference[None], [slice(0, 9), slice(9, 10)], scope="layer").vector
    assert float(by_tensor[9]) == 0.0
    assert abs(float(by_layer[9])) > 0.1
