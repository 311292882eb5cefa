"""The unit in which a parameter is measured where its gradient arrives scaled.

LSQ multiplies the gradient of a step size s by h = 1 / sqrt(N Qp), which is nothing but gradient descent on
sigma = s / sqrt(h): dL/dsigma = sqrt(h) dL/ds, and the step of s is sqrt(h) times that of sigma. For sigma, the inner
product of a gradient and a displacement is the change of the loss to first order. For s and its scaled gradient it is
not, and a projection with their plain inner product would leave a first-order change behind. Measuring s in units of
sqrt(h) is the oblique projection with D = 1/h, and leaves SGD's path as it is.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

from qunlearn.quantization.layers import input_quantizer, weight_quantizer
from qunlearn.quantization.lsq import LSQ


@torch.no_grad()
def lsq_units(model: nn.Module, inputs: Tensor) -> dict[int, float]:
    """sqrt(h) of each LSQ step size, by `id` of the parameter; empty for other quantizers.

    Args:
        inputs: one or more images, float32 [B, C, H, W]: N of an activation is its number of elements per image.
    """
    units: dict[int, float] = {}

    def note(quantizer: nn.Module | None, count: int) -> None:
        if isinstance(quantizer, LSQ):
            units[id(quantizer.scale)] = math.sqrt(1.0 / math.sqrt(count * quantizer.high))

    def look(layer: Any, arguments: tuple[Any, ...]) -> None:
        note(input_quantizer(layer), arguments[0].numel() // len(arguments[0]))
        weights = weight_quantizer(layer)
        if isinstance(weights, LSQ):
            note(weights, layer.weight.numel() // weights.scale.numel())

    layers = [
        module for module in model.modules() if hasattr(module, "weight_quant") and hasattr(module, "input_quant")
    ]
    hooks = [layer.register_forward_pre_hook(look) for layer in layers]
    try:
        model(inputs)
    finally:
        for hook in hooks:
            hook.remove()
    return units
