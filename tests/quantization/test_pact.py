"""PACT's kernel against plain autograd, and its numbers by hand."""

from unittest import mock

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from qunlearn.quantization import grid, pact
from qunlearn.quantization.pact import PACT, PACTFunction

gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
DEVICES = ["cpu", pytest.param("cuda", marks=[pytest.mark.gpu, gpu])]
shapes = st.lists(st.integers(1, 6), min_size=1, max_size=4).map(tuple)


def slow(x, clip, high, signed):
    """Clip in autograd, then a rounding that only changes the value."""
    bottom = -clip if signed else torch.zeros_like(clip)
    inside = (x > bottom) if signed else (x >= bottom)
    clipped = torch.where(x >= clip, clip, torch.where(inside, x, bottom))
    step = clip.detach() / high
    return clipped + ((clipped / step).round() * step - clipped).detach()


@settings(max_examples=60, deadline=None)
@given(
    shape=shapes,
    bits=st.integers(2, 8),
    signed=st.booleans(),
    dtype=st.sampled_from([torch.float32, torch.float64]),
    piece=st.sampled_from([1, 7, 2**18]),
    broadcasting=st.booleans(),
    rectified=st.booleans(),
    seed=st.integers(0, 2**16),
)
def test_forward_and_every_gradient_equal_plain_autograd(
    shape, bits, signed, dtype, piece, broadcasting, rectified, seed
):
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(shape, generator=generator, dtype=dtype)
    x = x.relu() if rectified else x
    upstream = torch.randn(shape, generator=generator, dtype=dtype)
    clip = 0.5 + torch.rand((), generator=generator, dtype=dtype)
    high = 2 ** (bits - 1) - 1 if signed else 2**bits - 1

    def run(function):
        a, b = x.clone().requires_grad_(), clip.clone().requires_grad_()
        y = function(a, b)
        y.backward(upstream)
        return y.detach(), a.grad, b.grad

    expected = run(lambda a, b: slow(a, b, high, signed))
    with (
        mock.patch.object(grid, "PIECE", piece),
        mock.patch.object(pact, "walks_in_pieces", return_value=not broadcasting),
    ):
        found = run(lambda a, b: PACTFunction.apply(a, b, -high if signed else 0, high, False, False))
    tolerance = {torch.float32: 1e-5, torch.float64: 1e-12}[dtype]
    torch.testing.assert_close(found[0], expected[0], rtol=tolerance, atol=tolerance)
    assert torch.equal(found[1], expected[1])
    torch.testing.assert_close(found[2], expected[2], rtol=tolerance, atol=tolerance * x.numel())


@pytest.mark.parametrize("device", DEVICES)
def test_numbers_by_hand_and_no_rounding_term(device):
    quantizer = PACT(bit_width=2, signed=False).to(device)
    with torch.no_grad():
        quantizer.clip.fill_(3.0)
    x = torch.tensor([-1.0, 0.0, 0.4, 1.6, 2.9, 3.0, 5.0], device=device, requires_grad=True)
    y = quantizer.kernel(x, may_overwrite=False)
    assert y.tolist() == [0.0, 0.0, 0.0, 2.0, 3.0, 3.0, 3.0]
    y.backward(torch.tensor([1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0], device=device))
    assert x.grad.tolist() == [0.0, 2.0, 4.0, 8.0, 16.0, 0.0, 0.0]
    assert quantizer.clip.grad.item() == 96.0


def test_the_clip_gets_exactly_nothing_where_nothing_is_clipped():
    quantizer = PACT(bit_width=4, signed=False)
    with torch.no_grad():
        quantizer.clip.fill_(0.9999999)
    x = torch.tensor([0.9999998, 0.3, 0.77], requires_grad=True)
    quantizer.kernel(x, may_overwrite=False).sum().backward()
    assert quantizer.clip.grad.item() == 0.0


def test_signed_inputs_are_clipped_on_both_sides_and_keep_zero():
    quantizer = PACT(bit_width=3, signed=True)
    with torch.no_grad():
        quantizer.clip.fill_(3.0)
    x = torch.tensor([-7.0, -3.0, -0.9, 0.2, 3.5], requires_grad=True)
    y = quantizer.kernel(x, may_overwrite=False)
    assert y.tolist() == [-3.0, -3.0, -1.0, 0.0, 3.0]
    y.backward(torch.tensor([1.0, 2.0, 4.0, 8.0, 16.0]))
    assert x.grad.tolist() == [0.0, 0.0, 4.0, 8.0, 0.0]
    assert quantizer.clip.grad.item() == 16.0 - 1.0 - 2.0


def test_with_the_relu_taken_over_the_gradient_at_zero_is_the_relus():
    quantizer = PACT(bit_width=4, signed=False)
    quantizer.rectifies = True
    x = torch.tensor([-0.5, 0.0, 0.5], requires_grad=True)
    quantizer.kernel(x, may_overwrite=False).sum().backward()
    assert x.grad.tolist() == [0.0, 0.0, 1.0]


def test_clip_starts_where_nothing_is_clipped():
    quantizer = PACT(bit_width=4, signed=True).train()
    quantizer.quantize(torch.tensor([0.5, -2.5]))
    assert quantizer.clip.item() == 2.5


def test_bfloat16_gradient_of_the_clip_is_float32():
    quantizer = PACT(bit_width=4, signed=False)
    x = torch.tensor([0.5, 2.0, 3.0], dtype=torch.bfloat16, requires_grad=True)
    y = quantizer.kernel(x, may_overwrite=True)
    y.backward(torch.ones_like(y))
    assert (y.dtype, x.grad.dtype, quantizer.clip.grad.dtype) == (torch.bfloat16, torch.bfloat16, torch.float32)
    assert quantizer.clip.grad.item() == 2.0
    assert x.grad.tolist() == [1.0, 0.0, 0.0]
