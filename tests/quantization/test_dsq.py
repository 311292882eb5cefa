"""DSQ's kernel against plain autograd, and its smooth part by finite differences."""

from unittest import mock

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.autograd import gradcheck

from qunlearn.quantization import dsq, grid
from qunlearn.quantization.dsq import DSQ, DSQFunction, phi

gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
DEVICES = ["cpu", pytest.param("cuda", marks=[pytest.mark.gpu, gpu])]


def soft(x, lower, upper, alpha, n, *, hard):
    """Equations 4 to 9 as written, the sign with a straight-through gradient where `hard`."""
    x = torch.where(x < lower, lower, torch.where(x > upper, upper, x))
    step = (upper - lower) / n
    i = ((x - lower) / step).detach().floor().clamp(0, n - 1)
    middle = lower + (i + 0.5) * step
    k = torch.log(2 / alpha - 1) / step
    value = torch.tanh(k * (x - middle)) / torch.tanh(0.5 * k * step)
    if hard:
        sign = torch.where(value >= 0, 1.0, -1.0).to(value)
        value = value + (sign - value).detach()
    return lower + step * (i + (value + 1) / 2)


@settings(max_examples=60, deadline=None)
@given(
    shape=st.lists(st.integers(1, 6), min_size=1, max_size=4).map(tuple),
    bits=st.integers(2, 8),
    per_channel=st.booleans(),
    alpha=st.floats(0.01, 0.45),
    dtype=st.sampled_from([torch.float32, torch.float64]),
    piece=st.sampled_from([1, 7, 2**18]),
    broadcasting=st.booleans(),
    seed=st.integers(0, 2**16),
)
def test_forward_and_every_gradient_equal_plain_autograd(
    shape, bits, per_channel, alpha, dtype, piece, broadcasting, seed
):
    generator = torch.Generator().manual_seed(seed)
    # The slow formulas are evaluated in float64: near a cell's border float32 may choose the other cell.
    x = torch.randn(shape, generator=generator, dtype=torch.float64)
    upstream = torch.randn(shape, generator=generator, dtype=torch.float64)
    scale_shape = (shape[0], *[1] * (len(shape) - 1)) if per_channel else ()
    n = 2**bits - 1
    lower = -0.5 - torch.rand(scale_shape, generator=generator, dtype=torch.float64)
    upper = 0.5 + torch.rand(scale_shape, generator=generator, dtype=torch.float64)
    place = ((x - lower) / (upper - lower) * n * 2).frac().abs()
    x = torch.where((place < 1e-2) | (place > 1 - 1e-2), x + 0.02 * (upper - lower) / n, x)

    def run(function, to):
        leaves = [t.to(to).clone().requires_grad_() for t in (x, lower, upper, torch.tensor(alpha))]
        y = function(*leaves)
        y.backward(upstream.to(to))
        return [y.detach().double(), *(leaf.grad.double() for leaf in leaves)]

    with (
        mock.patch.object(grid, "PIECE", piece),
        mock.patch.object(dsq, "walks_in_pieces", return_value=not broadcasting and (not per_channel or shape[0] == 1)),
    ):
        found = run(lambda *leaves: DSQFunction.apply(*leaves, n, False), dtype)
    expected = run(lambda *leaves: soft(*leaves, n, hard=True), torch.float64)
    tolerance = {torch.float32: 1e-3, torch.float64: 1e-9}[dtype]
    for a, b in zip(found, expected, strict=True):
        torch.testing.assert_close(a, b, rtol=tolerance, atol=tolerance)


def test_the_soft_step_passes_a_gradient_check():
    r = torch.tensor([-0.5, -0.31, -0.02, 0.0, 0.17, 0.44], dtype=torch.float64, requires_grad=True)
    top = torch.tensor(0.8, dtype=torch.float64, requires_grad=True)
    assert gradcheck(phi, (r, top))


def test_the_gradients_of_the_kernel_are_those_of_the_smooth_curve_by_finite_differences():
    n = 7
    x = torch.tensor([-0.83, -0.4, 0.05, 0.31, 0.66], dtype=torch.float64)
    leaves = [x, *(torch.tensor(v, dtype=torch.float64) for v in (-1.0, 1.1, 0.2))]
    leaves = [leaf.requires_grad_() for leaf in leaves]
    assert gradcheck(lambda *a: soft(*a, n, hard=False), leaves)
    dx = torch.autograd.grad(DSQFunction.apply(*leaves, n, False).sum(), leaves[0])[0]
    smooth = torch.autograd.grad(soft(*leaves, n, hard=False).sum(), leaves[0])[0]
    torch.testing.assert_close(dx, smooth, rtol=1e-10, atol=0)


def test_the_soft_step_meets_its_cells_ends_at_plus_and_minus_one():
    for alpha in (0.01, 0.2, 0.49):
        ends = phi(torch.tensor([-0.5, 0.0, 0.5], dtype=torch.float64), torch.tensor(1 - alpha, dtype=torch.float64))
        torch.testing.assert_close(ends, torch.tensor([-1.0, 0.0, 1.0], dtype=torch.float64))


@pytest.mark.parametrize("device", DEVICES)
def test_the_middle_of_a_cell_goes_up_since_the_sign_of_zero_is_plus_one(device):
    quantizer = DSQ(2, signed=False, scale_shape=(), is_weight=False).to(device)
    with torch.no_grad():
        quantizer.upper.fill_(3.0)
    x = torch.tensor([-1.0, 0.0, 0.5, 1.5, 2.5, 3.0, 9.0], device=device)
    assert quantizer.kernel(x, may_overwrite=False).tolist() == [0.0, 0.0, 1.0, 2.0, 3.0, 3.0, 3.0]
    assert quantizer.codes(x).tolist() == [0, 0, 1, 2, 3, 3, 3]


@settings(max_examples=20, deadline=None)
@given(bits=st.integers(2, 8), seed=st.integers(0, 2**16))
def test_codes_use_their_range_and_give_back_the_values(bits, seed):
    w = torch.randn(300, generator=torch.Generator().manual_seed(seed))
    quantizer = DSQ(bits, signed=True, scale_shape=(), is_weight=True)
    quantizer.start(w)
    codes, (step, offset) = quantizer.codes(w), quantizer.grid()
    assert 0 <= codes.min() <= codes.max() <= 2**bits - 1
    torch.testing.assert_close(step * codes + offset, quantizer.kernel(w, may_overwrite=False), rtol=1e-5, atol=1e-6)


def test_clips_start_symmetric_for_weights_and_at_zero_for_unsigned_inputs():
    cases = ((True, True, (-3.0, 3.0)), (True, False, (-1.0, 3.0)), (False, False, (0.0, 3.0)))
    for signed, is_weight, expected in cases:
        quantizer = DSQ(4, signed=signed, scale_shape=(), is_weight=is_weight)
        quantizer.start(torch.tensor([-1.0, 3.0]))
        assert (quantizer.lower.item(), quantizer.upper.item()) == expected


def test_latent_clips_stay_ordered_and_alpha_in_its_interval():
    quantizer = DSQ(4, signed=True, scale_shape=(), is_weight=True)
    with torch.no_grad():
        quantizer.lower.fill_(0.5)
        quantizer.upper.fill_(-0.5)
        quantizer.alpha.fill_(0.7)
    assert torch.isfinite(quantizer.quantize(torch.ones(3))).all()
    assert quantizer.upper.item() >= quantizer.lower.item()
    assert 0.0 < quantizer.alpha.item() < 0.5
