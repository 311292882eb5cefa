import pytest
import torch
from torch import nn
from torch.nn import functional as F

from qunlearn.quantization import bypass
from qunlearn.unlearning.layout import Layout
from qunlearn.unlearning.units import lsq_units


def test_every_trainable_parameter_has_one_place(original):
    layout = Layout.of(original)
    assert {id(p) for p in layout.parameters} == {id(p) for p in original.parameters()}
    assert layout.size == sum(p.numel() for p in original.parameters())
    assert [b.start for b in layout.blocks] == [0, *(b.stop for b in layout.blocks[:-1])]
    assert layout.blocks[-1].stop == layout.size


def test_a_block_is_a_layer_with_its_norm_and_scales_and_never_a_lone_scale(original):
    layout = Layout.of(original)
    assert set(layout.block_names) == {
        name for name, m in original.named_modules() if isinstance(m, nn.Conv2d | nn.Linear)
    }
    scales = {id(p) for name, p in original.named_parameters() if p.numel() == 1}
    assert len(scales) == 2 * len(layout.blocks)
    for block in layout.blocks:
        assert block.stop - block.start > 2


def test_views_undo_flattening_and_moving_adds(original):
    layout = Layout.of(original)
    flat = layout.values()
    assert all(torch.equal(view, p) for view, p in zip(layout.views(flat), layout.parameters, strict=True))
    layout.move(torch.ones(layout.size))
    assert torch.equal(layout.values(), flat + 1.0)


def test_frozen_parameters_are_left_out(original):
    original.fc.weight.requires_grad_(False)
    assert id(original.fc.weight) not in {id(p) for p in Layout.of(original).parameters}


def test_a_model_without_trainable_parameters_is_refused(original):
    with pytest.raises(ValueError, match="the model has none"):
        Layout.of(original.requires_grad_(False))


def test_parameters_that_the_loss_does_not_reach_have_gradient_zero(original, problem):
    layout = Layout.of(original)
    inputs, labels = problem.pool.batch(problem.forget)
    with bypass(original):
        gradient = layout.gradient(F.cross_entropy(original(inputs), labels))
    scales = [view for view, p in zip(layout.views(gradient), layout.parameters, strict=True) if p.numel() == 1]
    assert all(float(scale) == 0.0 for scale in scales)
    assert float(gradient.norm()) > 0.0


def test_in_units_a_gradient_times_a_displacement_is_the_change_of_the_loss_although_lsq_scales_gradients(original):
    """A linear loss of one weight quantizer's output: its true derivative with respect to the step size is known."""
    layer = original.stage2[0].conv1
    units = lsq_units(original, torch.zeros(1, 1, 8, 8))
    scale = layer.weight_quant.tensor_quant.scale
    count = layer.weight.numel()
    unit = units[id(scale)]
    assert unit**2 == pytest.approx((count * 7) ** -0.5)

    layout = Layout.of(original, units=units)
    place = [id(p) for p in layout.parameters].index(id(scale))
    loss = (layer.weight_quant.tensor_quant.quantize(layer.weight)).sum()
    arrived = torch.autograd.grad(loss, scale, retain_graph=True)[0]
    derivative = float(arrived) * (count * 7) ** 0.5
    in_units = float(layout.views(layout.gradient(loss))[place])

    displacement = torch.zeros(layout.size)
    layout.views(displacement)[place].fill_(1e-3)
    before = scale.item()
    layout.move(displacement)
    moved = scale.item() - before
    assert in_units * 1e-3 == pytest.approx(derivative * moved, rel=1e-3)


def test_an_input_step_size_counts_the_elements_of_one_image(original):
    units = lsq_units(original, torch.zeros(3, 1, 8, 8))
    scale = original.stage1[0].conv1.input_quant.fused_activation_quant_proxy.tensor_quant.scale
    assert units[id(scale)] ** 2 == pytest.approx((4 * 8 * 8 * 15) ** -0.5)


def test_other_quantizers_have_no_units(make_network):
    model = make_network(seed=0, quantizer="none").eval()
    assert lsq_units(model, torch.zeros(1, 1, 8, 8)) == {}
