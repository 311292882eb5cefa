import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from qunlearn.unlearning.objectives import Batch, cross_entropy, entropy_loss, uniform_loss


def gradient(loss, logits):
    logits = logits.clone().requires_grad_(True)
    return torch.autograd.grad(loss(logits).sum(), logits)[0]


@st.composite
def logits(draw):
    rows, classes = draw(st.integers(1, 5)), draw(st.integers(2, 12))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**31)))
    return draw(st.sampled_from([0.1, 1.0, 5.0])) * torch.randn(rows, classes, generator=generator, dtype=torch.float64)


@given(logits())
@settings(max_examples=50, deadline=None)
def test_the_gradient_of_the_entropy_is_p_times_log_p_plus_h(z):
    p = z.softmax(1)
    h = -(p * p.log()).sum(1, keepdim=True)
    expected = p * (p.log() + h) / math.log(z.shape[1])
    torch.testing.assert_close(gradient(entropy_loss, z), expected)


@given(logits())
@settings(max_examples=50, deadline=None)
def test_the_gradient_of_the_uniform_loss_is_p_minus_u(z):
    torch.testing.assert_close(gradient(uniform_loss, z), z.softmax(1) - 1.0 / z.shape[1])


@given(logits())
@settings(max_examples=50, deadline=None)
def test_both_losses_stay_in_their_ranges(z):
    assert ((entropy_loss(z) >= -1.0 - 1e-12) & (entropy_loss(z) <= 0.0)).all()
    assert (uniform_loss(z) >= -1e-12).all()


@pytest.mark.parametrize("classes", [2, 10, 100])
def test_uniform_logits_are_the_bottom_with_zero_gradient(classes):
    z = torch.full((3, classes), 0.7, dtype=torch.float64)
    torch.testing.assert_close(entropy_loss(z), torch.full((3,), -1.0, dtype=torch.float64))
    torch.testing.assert_close(uniform_loss(z), torch.zeros(3, dtype=torch.float64))
    for loss in (entropy_loss, uniform_loss):
        assert gradient(loss, z).abs().max() < 1e-15


def test_entropy_by_hand():
    """p = (1/2, 1/4, 1/4): H = 1.5 bits = 1.0397 nats; log 3 = 1.0986."""
    z = torch.tensor([[0.5, 0.25, 0.25]]).log()
    assert float(entropy_loss(z)) == pytest.approx(-0.9463946, abs=1e-6)
    assert float(uniform_loss(z)) == pytest.approx(0.0566330, abs=1e-6)


def test_the_entropys_gradient_vanishes_on_a_confident_image_and_the_uniform_ones_does_not():
    """At p_y = 1 - e with equal wrong classes: e log((K-1)/e) against 1 - e - 1/K."""
    e, classes = 1e-4, 10
    z = torch.tensor([[1.0 - e, *[e / 9] * 9]], dtype=torch.float64).log()
    vanishing = gradient(entropy_loss, z)[0, 0] * math.log(classes)
    assert float(vanishing) == pytest.approx(e * math.log((classes - 1) / e), rel=1e-2)
    assert float(gradient(uniform_loss, z)[0, 0]) == pytest.approx(0.9, abs=1e-3)


def test_saturated_float32_logits_give_finite_losses_and_gradients():
    z = torch.tensor([[200.0, 0.0, -200.0]])
    for loss in (entropy_loss, uniform_loss):
        assert loss(z).isfinite().all()
        assert gradient(loss, z).isfinite().all()


def test_cross_entropy_is_per_image():
    batch = Batch(torch.empty(0), torch.tensor([0, 1]), torch.tensor([5, 6]))
    losses = cross_entropy(torch.tensor([[0.0, 0.0], [0.0, math.log(3.0)]]), batch)
    assert losses.tolist() == pytest.approx([math.log(2.0), math.log(4.0 / 3.0)])
