"""Brevitas' convolution and linear layer with a direct way from input to output.

A stock Brevitas layer wraps its input and weight into QuantTensors with metadata on every pass. These layers call the
two quantizers and the convolution; during export, tracing or with a QuantTensor as input they do what Brevitas does.
"""

from __future__ import annotations

from typing import Any, TypeAlias

import torch
from brevitas.nn import QuantConv2d, QuantLinear
from brevitas.quant_tensor import QuantTensor
from torch import Tensor, nn

from qunlearn.config import QuantizationConfig
from qunlearn.quantization.injectors import SIGNED, STOCK_WEIGHTS, UNSIGNED, WEIGHTS
from qunlearn.quantization.quantizer import Quantizer

FloatLayer: TypeAlias = nn.Conv2d | nn.Linear


class _Direct:
    """Mixed in before a Brevitas layer whose weight and input quantizers are this package's."""

    export_mode: bool
    weight: Tensor
    bias: Tensor | None
    weight_quant: Any
    input_quant: Any

    def forward(self, input: Tensor) -> Tensor:
        if self.export_mode or isinstance(input, QuantTensor) or torch._C._get_tracing_state() is not None:
            return super().forward(input)  # type: ignore[misc, no-any-return]
        # The layer's own convolution is the only user of both results, so it alone holds their gradients.
        x = _quantize(self.input_quant, input_quantizer(self), input)
        w = _quantize(self.weight_quant, weight_quantizer(self), self.weight)
        return self.inner_forward_impl(x, w, self.bias)  # type: ignore[attr-defined, no-any-return]


class DirectConv2d(_Direct, QuantConv2d):  # type: ignore[misc]  # Brevitas has no types
    """Conv2d with quantized weight and input."""


class DirectLinear(_Direct, QuantLinear):  # type: ignore[misc]  # Brevitas has no types
    """Linear with quantized weight and input."""


def _quantize(proxy: Any, quantizer: nn.Module | None, x: Tensor) -> Tensor:
    if proxy.disable_quant or not isinstance(quantizer, Quantizer):
        return x
    return quantizer.quantize(x, may_overwrite=True)


def input_quantizer(layer: Any) -> nn.Module | None:
    """What quantizes the input of a Brevitas layer, None where nothing does."""
    fused = layer.input_quant.fused_activation_quant_proxy
    return None if fused is None else fused.tensor_quant


def weight_quantizer(layer: Any) -> nn.Module | None:
    """What quantizes the weight of a Brevitas layer, None where nothing does."""
    quantizer: nn.Module | None = layer.weight_quant.tensor_quant
    return quantizer


def quantized_layer(
    layer: FloatLayer, config: QuantizationConfig, *, weight_bits: int, activation_bits: int, signed: bool
) -> nn.Module:
    """A Brevitas layer that takes over weight and bias, the very parameters, of the float `layer`.

    Args:
        signed: whether inputs may be below zero.
    """
    stock = config.quantizer == "brevitas"
    convolution = isinstance(layer, nn.Conv2d)
    kind = (QuantConv2d if stock else DirectConv2d) if convolution else (QuantLinear if stock else DirectLinear)
    scale_shape = (layer.weight.shape[0], *[1] * (layer.weight.dim() - 1)) if config.per_channel else ()
    options: dict[str, Any] = {} if stock else {"weight_scale_shape": scale_shape}
    # On the meta device no initial weights are drawn: the global generator stays as it is.
    result: Any = kind(
        **_geometry(layer),
        bias=layer.bias is not None,
        weight_quant=STOCK_WEIGHTS[config.per_channel] if stock else WEIGHTS[config.quantizer],
        input_quant=(SIGNED if signed else UNSIGNED)[config.quantizer],
        weight_bit_width=weight_bits,
        input_bit_width=activation_bits,
        device=torch.device("meta"),
        **options,
    )
    result.weight = layer.weight
    result.bias = layer.bias
    if not stock:
        _settle(result)
    converted: nn.Module = result.train(layer.training)
    return converted


def _geometry(layer: FloatLayer) -> dict[str, Any]:
    if isinstance(layer, nn.Linear):
        return {"in_features": layer.in_features, "out_features": layer.out_features}
    names = "in_channels out_channels kernel_size stride padding dilation groups padding_mode"
    return {name: getattr(layer, name) for name in names.split()}


def _settle(layer: Any) -> None:
    """Make the quantizers of a new layer permanent, and start the weight's scales.

    So codes and scales of the weights can be read before any training; the first training pass starts them again.
    """
    for proxy, quantizer in (
        (layer.weight_quant, weight_quantizer(layer)),
        (layer.input_quant, input_quantizer(layer)),
    ):
        if isinstance(quantizer, Quantizer):
            quantizer.to(layer.weight.device)
            # On the instance: Brevitas' exporters know its own proxy classes, not classes derived from them.
            proxy.init_tensor_quant = _keep_quantizer
            proxy.skip_create_quant_tensor = not quantizer.shows_integers
            if quantizer.is_weight:
                quantizer.start(layer.weight)


def _keep_quantizer(preserve_state_dict: bool = False) -> None:
    """Instead of Brevitas' `init_tensor_quant`, which runs whenever a weight is assigned or a state dict is loaded.

    It would build a new quantizer with new parameters: optimizers would go on with parameters that nobody uses, and on
    a GPU the new ones would be on the CPU.
    """
