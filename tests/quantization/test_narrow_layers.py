"""Layers of one channel with a scale per channel: one scale, but with a dimension for each of the weight's."""

import pytest
import torch
from torch import nn

from qunlearn.config import QuantizationConfig
from qunlearn.quantization import quantize
from qunlearn.quantization.layers import weight_quantizer

OURS = ["lsq", "pact", "dsq"]
NARROW = {
    "one output channel": lambda: nn.Conv2d(4, 1, 3),
    "one input channel": lambda: nn.Conv2d(1, 4, 3),
    "depthwise": lambda: nn.Conv2d(4, 4, 3, groups=4),
    "depthwise with two filters a channel": lambda: nn.Conv2d(4, 8, 3, groups=4),
    "one channel": lambda: nn.Conv2d(1, 1, 3),
    "one weight": lambda: nn.Conv2d(1, 1, 1),
    "one output feature": lambda: nn.Linear(4, 1),
    "one weight, linear": lambda: nn.Linear(1, 1),
}
ONE_OUTPUT = ["one output channel", "one channel", "one weight", "one output feature", "one weight, linear"]


def trained_once(layer, quantizer, *, per_channel):
    """The layer with 4-bit quantizers after one pass, its output and its gradients."""
    x = torch.randn(3, layer.in_channels, 5, 5) if isinstance(layer, nn.Conv2d) else torch.randn(3, layer.in_features)
    config = QuantizationConfig(quantizer=quantizer, per_channel=per_channel, edge_bits=4)
    model = quantize(nn.Sequential(layer), config).train()
    out = model(x)
    out.square().sum().backward()
    return model[0], out.detach(), [p.grad for p in model.parameters()]


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("name", NARROW)
@pytest.mark.parametrize("quantizer", OURS)
def test_every_channel_is_quantized_as_if_it_were_alone(quantizer, name, memory_format):
    torch.manual_seed(0)
    layer = NARROW[name]()
    layer = layer.to(memory_format=memory_format) if isinstance(layer, nn.Conv2d) else layer
    layer, _, gradients = trained_once(layer, quantizer, per_channel=True)
    assert all(g.shape == p.shape and g.isfinite().all() for g, p in zip(gradients, layer.parameters(), strict=True))

    def kernel(quantizer_, weight):
        leaf = weight.detach().clone().requires_grad_()
        value = quantizer_.kernel(leaf, may_overwrite=False)
        value.square().sum().backward()
        return value.detach(), leaf.grad

    together = kernel(weight_quantizer(layer), layer.weight)
    for channel in range(len(layer.weight)):
        row = layer.weight.detach()[channel : channel + 1]
        alone = type(weight_quantizer(layer))(**arguments(quantizer, scale_shape=(1,) * row.dim()))
        alone.start(row)
        for all_channels, one in zip(together, kernel(alone, row), strict=True):
            torch.testing.assert_close(all_channels[channel : channel + 1], one)


def arguments(quantizer, *, scale_shape):
    signs = {"lsq": {"signed": True, "is_weight": True}, "dsq": {"signed": True, "is_weight": True}, "pact": {}}
    return {"bit_width": 4, "scale_shape": scale_shape, **signs[quantizer]}


@pytest.mark.parametrize("name", ONE_OUTPUT)
@pytest.mark.parametrize("quantizer", OURS)
def test_with_one_output_channel_per_channel_is_per_tensor(quantizer, name):
    results = []
    for per_channel in (True, False):
        torch.manual_seed(0)
        _, out, gradients = trained_once(NARROW[name](), quantizer, per_channel=per_channel)
        results.append([out, *(gradient.reshape(-1) for gradient in gradients)])
    for a, b in zip(*results, strict=True):
        torch.testing.assert_close(a, b)
