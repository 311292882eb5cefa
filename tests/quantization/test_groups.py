"""Groups for optimizers and blocks for per-layer projection cover every parameter once."""

import pytest
import torch
import torchvision

from qunlearn.config import ModelConfig, QuantizationConfig
from qunlearn.models import build
from qunlearn.quantization import layer_blocks, parameter_groups, quantize

ALL = ["lsq", "pact", "dsq", "brevitas", "none"]


def network(quantizer):
    model = build(ModelConfig(name="resnet8", width=4), classes=5, channels=1, image_size=8, seed=0)
    return quantize(model, QuantizationConfig(quantizer=quantizer))


@pytest.mark.parametrize("quantizer", ALL)
def test_every_parameter_is_in_exactly_one_group_and_an_optimizer_takes_them(quantizer):
    model = network(quantizer)
    groups = parameter_groups(model, 5e-4)
    ids = [id(p) for group in groups for p in group["params"]]
    assert sorted(ids) == sorted(id(p) for p in model.parameters())
    torch.optim.SGD(groups, lr=0.1)


@pytest.mark.parametrize(
    ("quantizer", "decays"),
    [
        ("lsq", {"network": 5e-4, "quantizers": 0.0}),
        ("pact", {"network": 5e-4, "clips": 5e-4}),
        ("dsq", {"network": 5e-4, "quantizers": 0.0}),
        ("none", {"network": 5e-4}),
    ],
)
def test_scales_do_not_decay_and_the_clips_of_pact_do(quantizer, decays):
    groups = parameter_groups(network(quantizer), 5e-4)
    assert {group["name"]: group["weight_decay"] for group in groups} == decays


@pytest.mark.parametrize("quantizer", ALL)
def test_every_parameter_is_in_exactly_one_block(quantizer):
    model = network(quantizer)
    names = [name for block in layer_blocks(model) for name in block]
    assert sorted(names) == sorted(name for name, _ in model.named_parameters())


def test_a_block_is_a_layer_with_its_scales_and_the_batch_norm_behind_it():
    blocks = layer_blocks(network("lsq"))
    assert len(blocks) == 8
    block = next(block for block in blocks if "stage1.0.conv1.weight" in block)
    assert {name.removeprefix("stage1.0.") for name in block} == {
        "conv1.weight",
        "conv1.weight_quant.tensor_quant.scale",
        "conv1.input_quant.fused_activation_quant_proxy.tensor_quant.scale",
        "bn1.weight",
        "bn1.bias",
    }
    assert {name.partition(".")[2] for name in blocks[-1]} >= {"weight", "bias"}


def test_no_block_is_a_lone_scalar():
    for quantizer in ALL:
        sizes = dict(network(quantizer).named_parameters())
        assert all(sum(sizes[name].numel() for name in block) > 1 for block in layer_blocks(network(quantizer)))


def test_a_batch_norm_in_front_of_its_layer_is_a_block_of_its_own():
    net = torchvision.models.DenseNet(growth_rate=4, block_config=(2,), num_init_features=8, num_classes=5)
    blocks = layer_blocks(quantize(net, QuantizationConfig()))
    assert ["features.denseblock1.denselayer1.norm1.weight", "features.denseblock1.denselayer1.norm1.bias"] in blocks
