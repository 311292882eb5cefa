"""Parameters of a network in groups: for optimizers, and layer by layer."""

from __future__ import annotations

from typing import Any

from torch import nn

from qunlearn.quantization.pact import PACT
from qunlearn.quantization.structure import structure_of


def parameter_groups(model: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """Groups for a torch optimizer, each with `name`, `params` and `weight_decay`; every parameter is in exactly one.

    - `network`: weights, biases and BatchNorm, with `weight_decay`;
    - `clips`: PACT's clips, with `weight_decay` too: their L2 penalty is part of the method, and the paper gives it the
      coefficient of the weights;
    - `quantizers`: all other scales, without decay, which would shrink the range for no reason.

    Groups without parameters are left out.
    """
    scales = {id(p) for p in _quantizer_parameters(model)}
    clips = {id(module.clip) for module in model.modules() if isinstance(module, PACT)}
    parameters = list(model.parameters())
    groups: list[dict[str, Any]] = [
        {"name": "network", "params": [p for p in parameters if id(p) not in scales], "weight_decay": weight_decay},
        {"name": "clips", "params": [p for p in parameters if id(p) in clips], "weight_decay": weight_decay},
        {"name": "quantizers", "params": [p for p in parameters if id(p) in scales - clips], "weight_decay": 0.0},
    ]
    return [group for group in groups if group["params"]]


def _quantizer_parameters(model: nn.Module) -> list[nn.Parameter]:
    return [
        parameter
        for layer in model.modules()
        for side in ("weight_quant", "input_quant")
        if hasattr(layer, side)
        for parameter in getattr(layer, side).parameters()
    ]


def layer_blocks(model: nn.Module) -> list[list[str]]:
    """Parameter names by layer: weight, bias, quantizer scales and the BatchNorm that directly follows.

    Every parameter is in exactly one block; those of other modules (a BatchNorm in front of its layer, a LayerNorm)
    form a block per module.
    """
    structure = structure_of(model)
    owner = {layer: layer for layer in structure.layers}
    owner.update({norm: layer for layer, norm in structure.norms.items()})
    blocks: dict[str, list[str]] = {layer: [] for layer in structure.layers}
    for name, _ in model.named_parameters():
        blocks.setdefault(_block(name, owner), []).append(name)
    return [names for names in blocks.values() if names]


def _block(parameter: str, owner: dict[str, str]) -> str:
    module = parameter.rpartition(".")[0]
    while module:
        if module in owner:
            return owner[module]
        module = module.rpartition(".")[0]
    return parameter.rpartition(".")[0]
