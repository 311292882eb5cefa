"""From a float network to a quantized one."""

from __future__ import annotations

import copy

from torch import nn

from qunlearn.config import QuantizationConfig
from qunlearn.quantization.layers import input_quantizer, quantized_layer
from qunlearn.quantization.quantizer import Quantizer
from qunlearn.quantization.structure import Structure, examine, remember

FLOAT_BITS = 32


class AbsorbedReLU(nn.Identity):
    """Stands where a ReLU was whose only users are quantizers that clip at 0: clipping contains it."""


def quantize(model: nn.Module, config: QuantizationConfig) -> nn.Module:
    """A quantized copy of a float network, with the same module and parameter names; `model` stays as it is.

    Every Conv2d and Linear gets a quantized weight and a quantized input: unsigned where the graph shows that the
    input cannot be negative, signed otherwise. The first convolution and the last layer get `edge_bits`, or stay float
    for 32. Latent weights, biases and BatchNorm start as copies of the float network's. Scales of activations start in
    the first training pass; evaluation before it raises `NotInitialisedError`.

    ReLUs that feed nothing but quantizers of `lsq` and `pact` are taken over by them: the result is the same.

    Args:
        config: `quantizer: none` gives a plain copy.

    Raises:
        ValueError: the network cannot be traced, or has no layer to quantize.
    """
    result = copy.deepcopy(model)
    if config.quantizer == "none":
        return result
    structure = examine(result)
    float_edges = {structure.first, structure.last} if config.edge_bits == FLOAT_BITS else set()
    for name in structure.layers:
        if name not in float_edges:
            edge = name in (structure.first, structure.last)
            layer = quantized_layer(
                result.get_submodule(name),  # type: ignore[arg-type]  # `examine` names Conv2d and Linear only
                config,
                weight_bits=config.edge_bits if edge else config.weight_bits,
                activation_bits=config.edge_bits if edge else config.activation_bits,
                signed=name not in structure.unsigned,
            )
            result.set_submodule(name, layer)
    if config.quantizer in ("lsq", "pact"):
        _absorb_relus(result, structure)
    remember(result, structure)
    return result


def _absorb_relus(model: nn.Module, structure: Structure) -> None:
    for relu, users in structure.absorbers.items():
        quantizers = [_clips_at_zero(model.get_submodule(name)) for name in users]
        if all(quantizers):
            model.set_submodule(relu, AbsorbedReLU())
            for quantizer in quantizers:
                if quantizer is not None:
                    quantizer.rectifies = True


def _clips_at_zero(layer: nn.Module) -> Quantizer | None:
    """The input quantizer of a layer, where there is one and its codes start at 0."""
    quantizer = input_quantizer(layer) if hasattr(layer, "input_quant") else None
    return quantizer if isinstance(quantizer, Quantizer) and quantizer.low == 0 else None
