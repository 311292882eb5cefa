"""The audit reads what is in force, so it contradicts a wrong configuration: 8-bit activations in a "4w4a" net."""

import dataclasses
import json

import pytest
import torch
from torch import nn
from torch.overrides import TorchFunctionMode

from qunlearn.config import ModelConfig, QuantizationConfig
from qunlearn.models import build
from qunlearn.quantization import audit, departures, describe, integer_codes, quantize, scales
from qunlearn.quantization.layers import input_quantizer, quantized_layer, weight_quantizer

QUANTIZERS = ["lsq", "pact", "dsq", "brevitas"]


def network(quantizer="lsq", **options):
    model = build(ModelConfig(name="resnet8", width=4), classes=5, channels=1, image_size=8, seed=0)
    model = quantize(model, QuantizationConfig(quantizer=quantizer, **options)).train()
    model(torch.randn(6, 1, 8, 8, generator=torch.Generator().manual_seed(0)))
    return model.eval()


class Listener(TorchFunctionMode):
    """Notes the numbers of distinct weights and inputs that convolutions and linear layers really receive."""

    def __init__(self):
        super().__init__()
        self.seen = []

    def __torch_function__(self, function, types, args=(), kwargs=None):
        if getattr(function, "__name__", "") in ("conv2d", "linear"):
            x, w = (getattr(tensor, "value", tensor) for tensor in args[:2])
            self.seen.append((len(w.unique()), len(x.unique())))
        return function(*args, **(kwargs or {}))


def levels_used(model):
    """Layer -> numbers of distinct weights and inputs, over a batch of images."""
    with torch.no_grad(), Listener() as listener:
        model(torch.randn(64, 1, 8, 8, generator=torch.Generator().manual_seed(3)))
    return dict(zip([row.name for row in audit(model)], listener.seen, strict=True))


@pytest.mark.parametrize("quantizer", QUANTIZERS)
def test_the_bits_reported_bound_the_values_that_reach_the_arithmetic(quantizer):
    model = network(quantizer, weight_bits=3, activation_bits=4)
    used = levels_used(model)
    for row in audit(model):
        weights, inputs = used[row.name]
        assert weights <= 2**row.weight_bits
        assert inputs <= 2**row.activation_bits
    inside = [used[row.name] for row in audit(model) if not row.edge]
    assert max(w for w, _ in inside) > 2**2
    assert max(a for _, a in inside) > 2**3


def with_eight_bit_activations(model):
    """The published mistake: the converter forgets to pass the activations' bits on."""
    for row in audit(model):
        layer = model.get_submodule(row.name)
        if not row.edge:
            plain = nn.Conv2d(
                layer.in_channels, layer.out_channels, 3, stride=layer.stride, padding=layer.padding, bias=False
            )
            config = QuantizationConfig(activation_bits=4)
            wrong = quantized_layer(plain, config, weight_bits=4, activation_bits=8, signed=row.signed)
            model.set_submodule(row.name, wrong)
    return model


def test_a_net_with_eight_bit_activations_under_a_four_bit_configuration_is_found():
    config = QuantizationConfig(weight_bits=4, activation_bits=4)
    assert departures(network(), config) == []
    wrong = with_eight_bit_activations(network())
    assert {row.activation_bits for row in audit(wrong) if not row.edge} == {8}
    wrong.train()(torch.randn(6, 1, 8, 8, generator=torch.Generator().manual_seed(0)))
    used = levels_used(wrong)
    assert max(used[row.name][1] for row in audit(wrong) if not row.edge) > 2**4
    lines = departures(wrong, config)
    assert len(lines) == sum(not row.edge for row in audit(wrong))
    assert all("activation_bits is 8, the configuration asks for 4" in line for line in lines)


def test_a_net_whose_edges_were_left_float_is_found():
    lines = departures(network(edge_bits=32), QuantizationConfig(edge_bits=8))
    assert any(line.startswith("conv: weight_bits is 32") for line in lines)
    assert any(line.startswith("fc: activation_bits is 32") for line in lines)


@pytest.mark.parametrize("quantizer", QUANTIZERS)
@pytest.mark.parametrize("edge_bits", [8, 32])
@pytest.mark.parametrize("per_channel", [False, True])
def test_audit_agrees_with_every_configuration_as_asked(quantizer, edge_bits, per_channel):
    config = QuantizationConfig(
        quantizer=quantizer, weight_bits=2, activation_bits=6, edge_bits=edge_bits, per_channel=per_channel
    )
    model = network(**{k: v for k, v in config.model_dump().items() if k != "quantizer"}, quantizer=quantizer)
    assert departures(model, config) == []
    rows = audit(model)
    assert [row.name for row in rows if row.edge] == ["conv", "fc"]
    assert len(rows) == 8
    signed = {row.name for row in rows if row.signed}
    # Only the image can be negative; a float edge takes anything.
    assert signed == ({"conv", "fc"} if edge_bits == 32 else {"conv"})
    json.dumps([dataclasses.asdict(row) for row in rows])


@pytest.mark.parametrize("quantizer", QUANTIZERS)
@pytest.mark.parametrize("per_channel", [False, True])
def test_codes_are_integers_in_range_and_give_back_the_weights_in_force(quantizer, per_channel):
    model = network(quantizer, per_channel=per_channel)
    content = describe(model)["layers"]
    for name, codes in integer_codes(model).items():
        side, layer = content[name]["weight"], model.get_submodule(name)
        low, high = side["codes"]
        assert codes.dtype == torch.int16
        assert codes.shape == layer.weight.shape
        assert low <= codes.min() <= codes.max() <= high
        assert high - low < 2 ** side["bits"]
        shape = (-1, *[1] * (codes.dim() - 1)) if side["per_channel"] else ()
        scale, offset = (torch.tensor(side[key]).reshape(shape) for key in ("scale", "offset"))
        weight = layer.weight_quant(layer.weight)
        value = getattr(weight, "value", weight)
        torch.testing.assert_close(scale * codes + offset, value, rtol=1e-4, atol=1e-6)


def test_scales_name_weights_and_inputs_and_are_those_of_the_parameters():
    model = network()
    found = scales(model)
    assert set(found) == {f"{row.name}.{side}" for row in audit(model) for side in ("weight", "input")}
    layer = model.stage1[0].conv1
    assert torch.equal(found["stage1.0.conv1.weight"], weight_quantizer(layer).scale)
    assert torch.equal(found["stage1.0.conv1.input"], input_quantizer(layer).scale)
    assert not any(value.requires_grad for value in found.values())


def test_activations_without_data_have_codes_for_weights_but_no_scale():
    model = build(ModelConfig(name="resnet8", width=4), classes=5, channels=1, image_size=8, seed=0)
    model = quantize(model, QuantizationConfig())
    assert all(name.endswith(".weight") for name in scales(model))
    assert describe(model)["layers"]["conv"]["input"]["scale"] is None
    assert len(integer_codes(model)) == 8


@pytest.mark.parametrize("quantizer", [*QUANTIZERS, "none"])
def test_description_is_json_and_has_every_layer(quantizer):
    content = json.loads(json.dumps(describe(network(quantizer))))
    assert content["format"] == 1
    assert list(content["layers"]) == [row.name for row in audit(network(quantizer))]


def test_dorefa_records_step_and_offset_of_its_levels():
    side = describe(network("pact"))["layers"]["stage1.0.conv1"]["weight"]
    assert side["codes"] == [0, 15]
    assert side["scale"] == pytest.approx([2 / 15])
    assert side["offset"] == [-1.0]


def test_integers_of_brevitas_own_interface_are_ours():
    model = network()
    layer = model.stage1[0].conv1
    assert torch.equal(layer.quant_weight().int().to(torch.int16), integer_codes(model)["stage1.0.conv1"])
    assert layer.weight_quant.bit_width().item() == 4
    assert layer.input_quant.bit_width().item() == 4
