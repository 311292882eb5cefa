"""DoReFa's weights against plain autograd, and their levels."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from qunlearn.quantization.dorefa import DoReFa

gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
DEVICES = ["cpu", pytest.param("cuda", marks=[pytest.mark.gpu, gpu])]


def slow(w, n, dims):
    t = w.tanh()
    z = t / (2 * t.abs().amax(dim=dims, keepdim=True).detach()) + 0.5
    q = z + ((z * n).round() / n - z).detach()
    return 2 * q - 1


@settings(max_examples=60, deadline=None)
@given(
    shape=st.lists(st.integers(1, 6), min_size=1, max_size=4).map(tuple),
    bits=st.integers(2, 8),
    per_channel=st.booleans(),
    dtype=st.sampled_from([torch.float32, torch.float64]),
    seed=st.integers(0, 2**16),
)
def test_forward_and_gradient_equal_plain_autograd(shape, bits, per_channel, dtype, seed):
    generator = torch.Generator().manual_seed(seed)
    w = torch.randn(shape, generator=generator, dtype=dtype)
    upstream = torch.randn(shape, generator=generator, dtype=dtype)
    rows = per_channel and len(shape) > 1
    quantizer = DoReFa(bits, scale_shape=(shape[0], *[1] * (len(shape) - 1)) if rows else ())
    results = []
    dims = tuple(range(1, len(shape))) if rows else tuple(range(len(shape)))
    for function in (lambda a: quantizer.kernel(a, may_overwrite=False), lambda a: slow(a, 2**bits - 1, dims)):
        a = w.clone().requires_grad_()
        y = function(a)
        y.backward(upstream)
        results.append((y.detach(), a.grad))
    tolerance = {torch.float32: 1e-5, torch.float64: 1e-12}[dtype]
    torch.testing.assert_close(results[0], results[1], rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("bits", [2, 4, 8])
def test_levels_are_the_odd_multiples_and_codes_are_integers_from_zero(bits, device):
    n = 2**bits - 1
    quantizer = DoReFa(bits, scale_shape=()).to(device)
    w = torch.linspace(-3, 3, 2001, device=device)
    odd = quantizer.kernel(w, may_overwrite=False) * n
    torch.testing.assert_close(odd, odd.round())
    assert (odd.round().int() % 2 == 1).all()
    codes = quantizer.codes(w)
    assert sorted(set(codes.tolist())) == list(range(n + 1))
    step, offset = quantizer.grid()
    torch.testing.assert_close(step * codes + offset, odd / n)


def test_brevitas_is_shown_odd_integers_with_a_whole_zero_point():
    quantizer = DoReFa(4, scale_shape=())
    value, scale, zero_point, bit_width = quantizer(torch.linspace(-1, 1, 50))
    integers = value / scale
    torch.testing.assert_close(integers, integers.round())
    assert integers.abs().max().item() == pytest.approx(15.0)
    assert zero_point.item() == 0.0
    assert bit_width.item() == 5.0


def test_all_zero_weights_give_finite_values_and_gradients():
    w = torch.zeros(3, 3, requires_grad=True)
    y = DoReFa(4, scale_shape=()).kernel(w, may_overwrite=False)
    assert torch.isfinite(y).all()
