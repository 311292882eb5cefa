"""LSQ's kernel against plain autograd, and its numbers by hand."""

import math
from unittest import mock

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from qunlearn.quantization import grid, lsq
from qunlearn.quantization.lsq import LSQ, LSQFunction

gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
DEVICES = ["cpu", pytest.param("cuda", marks=[pytest.mark.gpu, gpu])]


def slow(x, step, low, high):
    """The published formulas in autograd: a straight-through round, a clip that is open at its ends."""
    v = x / step
    clipped = torch.where(v <= low, low, torch.where(v >= high, high, v))
    return (clipped + (clipped.round() - clipped).detach()) * step


def gradients(function, x, step, upstream):
    x, step = x.detach().clone().requires_grad_(), step.detach().clone().requires_grad_()
    y = function(x, step)
    y.backward(upstream)
    return y.detach(), x.grad, step.grad


shapes = st.lists(st.integers(1, 6), min_size=1, max_size=4).map(tuple)


@settings(max_examples=60, deadline=None)
@given(
    shape=shapes,
    bits=st.integers(2, 8),
    signed=st.booleans(),
    per_channel=st.booleans(),
    dtype=st.sampled_from([torch.float32, torch.float64]),
    piece=st.sampled_from([1, 7, 2**18]),
    broadcasting=st.booleans(),
    may_overwrite=st.booleans(),
    seed=st.integers(0, 2**16),
)
def test_forward_and_every_gradient_equal_plain_autograd(
    shape, bits, signed, per_channel, dtype, piece, broadcasting, may_overwrite, seed
):
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(shape, generator=generator, dtype=dtype)
    low, high = (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if signed else (0, 2**bits - 1)
    scale_shape = (shape[0], *[1] * (len(shape) - 1)) if per_channel else ()
    step = (0.2 + torch.rand(scale_shape, generator=generator, dtype=dtype)) * 2 / high
    upstream = torch.randn(shape, generator=generator, dtype=dtype)
    scale = 1 / math.sqrt(x.numel() * high)
    expected = gradients(lambda a, s: slow(a, s, low, high), x, step, upstream)
    with (
        mock.patch.object(grid, "PIECE", piece),
        mock.patch.object(lsq, "walks_in_pieces", return_value=not broadcasting and (not per_channel or shape[0] == 1)),
    ):
        found = gradients(
            lambda a, s: LSQFunction.apply(a, s, low, high, scale, may_overwrite), x, step, upstream.clone()
        )
    tolerance = {torch.float32: 1e-5, torch.float64: 1e-12}[dtype]
    torch.testing.assert_close(found[0], expected[0], rtol=tolerance, atol=0)  # far less than one step: the same codes
    assert torch.equal(found[1] == 0, expected[1] == 0)
    torch.testing.assert_close(found[1], expected[1], rtol=tolerance, atol=0)
    torch.testing.assert_close(found[2], expected[2] * scale, rtol=tolerance, atol=tolerance * scale * high * x.numel())


@pytest.mark.parametrize("device", DEVICES)
def test_step_gradient_is_lower_bound_upper_bound_or_rounding_error(device):
    # x/s = -3, 5, 0.3, -1.6 with s = 0.5, signed 3 bits: Qn -4, Qp 3 -> -3 is inside (no error), 5 is clipped.
    x = torch.tensor([-1.5, 2.5, 0.15, -0.8, -9.0], device=device, requires_grad=True)
    quantizer = LSQ(bit_width=3, signed=True, scale_shape=(), is_weight=True).to(device)
    with torch.no_grad():
        quantizer.scale.fill_(0.5)
    y = quantizer.kernel(x, may_overwrite=False)
    assert y.tolist() == [-1.5, 1.5, 0.0, -1.0, -2.0]
    y.sum().backward()
    by_hand = (0.0 + 3.0 + (0.0 - 0.3) + (-2.0 + 1.6) - 4.0) / math.sqrt(5 * 3)
    assert quantizer.scale.grad.item() == pytest.approx(by_hand, rel=1e-6)
    assert x.grad.tolist() == [1.0, 0.0, 1.0, 1.0, 0.0]


def test_activations_count_elements_per_sample_and_weights_elements_per_step():
    x = torch.full((4, 6), 100.0)  # all clipped: the sum over elements is Qp each
    for is_weight, shape, count in ((False, (), 6), (True, (), 24), (True, (4, 1), 6)):
        quantizer = LSQ(bit_width=4, signed=False, scale_shape=shape, is_weight=is_weight)
        quantizer.kernel(x, may_overwrite=False).sum().backward()
        assert quantizer.scale.grad.sum().item() == pytest.approx(24 * 15 / math.sqrt(count * 15), rel=1e-6)


@pytest.mark.parametrize("signed", [False, True])
def test_step_starts_at_twice_the_mean_magnitude_over_the_root_of_the_largest_code(signed):
    quantizer = LSQ(bit_width=4, signed=signed, scale_shape=(), is_weight=False).train()
    quantizer.quantize(torch.tensor([[1.0, -2.0], [0.5, 0.5]]))
    assert quantizer.scale.item() == pytest.approx(2 * 1.0 / math.sqrt(7 if signed else 15))
    quantizer.quantize(torch.tensor([[100.0, 100.0]]))
    assert quantizer.scale.item() == pytest.approx(2 * 1.0 / math.sqrt(7 if signed else 15))


def test_ties_round_to_even():
    quantizer = LSQ(bit_width=4, signed=True, scale_shape=(), is_weight=True)
    values = torch.tensor([0.5, 1.5, 2.5, -0.5, -1.5])
    assert quantizer.kernel(values, may_overwrite=False).tolist() == [0.0, 2.0, 2.0, 0.0, -2.0]


@pytest.mark.parametrize("latent", [0.0, -3.0])
def test_latent_step_is_kept_at_its_smallest_value(latent):
    quantizer = LSQ(bit_width=4, signed=False, scale_shape=(), is_weight=True).eval()
    with torch.no_grad():
        quantizer.scale.fill_(latent)
    assert torch.isfinite(quantizer.quantize(torch.ones(3))).all()
    assert quantizer.scale.item() == pytest.approx(1e-8)


def test_evaluation_without_gradients_does_not_touch_the_latent_step():
    quantizer = LSQ(bit_width=4, signed=False, scale_shape=(), is_weight=True).eval()
    with torch.no_grad():
        quantizer.scale.fill_(-1.0)
        assert torch.isfinite(quantizer.quantize(torch.ones(3))).all()
    assert quantizer.scale.item() == -1.0


@settings(max_examples=20, deadline=None)
@given(bits=st.integers(2, 8), signed=st.booleans(), seed=st.integers(0, 2**16))
def test_bfloat16_computes_its_codes_in_float32(bits, signed, seed):
    x = torch.randn(40, generator=torch.Generator().manual_seed(seed)).bfloat16()
    quantizer = LSQ(bit_width=bits, signed=signed, scale_shape=(), is_weight=True)
    quantizer.start(x)
    half, full = (x.to(d).clone().requires_grad_() for d in (torch.bfloat16, torch.float32))
    low = quantizer.kernel(half, may_overwrite=False)
    high = quantizer.kernel(full, may_overwrite=False)
    assert low.dtype == torch.bfloat16
    assert torch.equal(low, high.bfloat16())
    grads = []
    for y in (low, high):
        quantizer.scale.grad = None
        y.backward(torch.ones_like(y))
        grads.append(quantizer.scale.grad)
    assert torch.equal(half.grad.float(), full.grad)
    torch.testing.assert_close(grads[0], grads[1], rtol=1e-5, atol=1e-5)
    assert grads[0].dtype == torch.float32


def test_not_a_number_stays_visible():
    quantizer = LSQ(bit_width=4, signed=True, scale_shape=(), is_weight=True)
    assert quantizer.kernel(torch.tensor([math.nan, 1.0]), may_overwrite=False).isnan().tolist() == [True, False]


@pytest.mark.parametrize("layout", ["channels_last", "transposed", "sliced", "expanded"])
def test_any_memory_layout_gives_the_same_numbers(layout):
    base = torch.randn(4, 6, 5, 5, generator=torch.Generator().manual_seed(0))
    x = {
        "channels_last": lambda: base.to(memory_format=torch.channels_last),
        "transposed": lambda: base.transpose(0, 3),
        "sliced": lambda: base[:, ::2],
        "expanded": lambda: base[:, :1].expand(4, 6, 5, 5),
    }[layout]()
    quantizer = LSQ(bit_width=4, signed=True, scale_shape=(), is_weight=True)
    quantizer.start(base)
    results = []
    for value in (x, x.contiguous()):
        leaf = value.detach().requires_grad_()
        quantizer.scale.grad = None
        y = quantizer.kernel(leaf, may_overwrite=False)
        y.backward(torch.arange(y.numel(), dtype=torch.float32).view(y.shape))
        results.append((y.detach(), leaf.grad, quantizer.scale.grad))
    assert torch.equal(results[0][0], results[1][0])
    assert torch.equal(results[0][1], results[1][1])
    torch.testing.assert_close(results[0][2], results[1][2])


def test_a_gradient_that_belongs_to_others_is_left_alone():
    quantizer = LSQ(bit_width=4, signed=True, scale_shape=(), is_weight=True)
    x, upstream = torch.tensor([100.0, 0.2], requires_grad=True), torch.ones(2)
    quantizer.kernel(x, may_overwrite=False).backward(upstream)
    assert upstream.tolist() == [1.0, 1.0]
    assert x.grad.tolist() == [0.0, 1.0]
