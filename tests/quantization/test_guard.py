"""One optimizer step changes a learned scale by at most a factor of two, and ordinary steps not at all."""

import pytest
import torch

from qunlearn.quantization.guard import ScaleGuard
from qunlearn.quantization.lsq import LSQ
from qunlearn.quantization.pact import PACT


def lsq(scale: list[float]) -> LSQ:
    quantizer = LSQ(bit_width=4, signed=True, scale_shape=(len(scale),), is_weight=True)
    quantizer.scale.data.copy_(torch.tensor(scale))
    return quantizer


@pytest.mark.parametrize(
    ("step", "expected"),
    [(0.3, 1.3), (-0.3, 0.7), (-0.5, 0.5), (1.0, 2.0), (-0.51, 0.5), (-7.0, 0.5), (1.01, 2.0), (1e16, 2.0)],
)
def test_scale_stays_between_half_and_twice_of_what_it_was(step, expected):
    quantizer = lsq([1.0])
    with ScaleGuard(quantizer):
        quantizer.scale.data += step
    assert quantizer.scale.item() == pytest.approx(expected, rel=1e-6)


def test_scales_of_a_tensor_are_bounded_one_by_one():
    quantizer = lsq([1.0, 0.1])
    with ScaleGuard(quantizer):
        quantizer.scale.data += torch.tensor([0.5, -0.5])
    assert quantizer.scale.tolist() == pytest.approx([1.5, 0.05])


def test_clips_are_guarded_and_other_parameters_are_not():
    network = torch.nn.ModuleDict({"clip": PACT(bit_width=4, signed=False), "layer": torch.nn.Linear(1, 1)})
    network["clip"].clip.data.fill_(4.0)
    network["layer"].weight.data.fill_(1.0)
    with ScaleGuard(network):
        network["clip"].clip.data -= 100.0
        network["layer"].weight.data -= 100.0
    assert network["clip"].clip.item() == 2.0
    assert network["layer"].weight.item() == -99.0


def test_guard_can_be_used_step_after_step():
    quantizer = lsq([1.0])
    guard = ScaleGuard(quantizer)
    for _ in range(3):
        with guard:
            quantizer.scale.data -= 10.0
    assert quantizer.scale.item() == 0.125


def test_float_network_has_nothing_to_guard():
    layer = torch.nn.Linear(2, 2)
    with ScaleGuard(layer):
        layer.weight.data.fill_(3.0)
    assert (layer.weight == 3.0).all()
