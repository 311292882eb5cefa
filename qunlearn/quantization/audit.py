"""What is really in force in a network: bits, signs, scales and integer codes, read from its modules.

Nothing here looks at the configuration, so an audit can contradict it: see `departures`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from qunlearn.config import QuantizationConfig
from qunlearn.quantization.convert import FLOAT_BITS
from qunlearn.quantization.layers import input_quantizer, weight_quantizer
from qunlearn.quantization.quantizer import Quantizer
from qunlearn.quantization.structure import structure_of

_WEIGHT_QUANTIZERS = {"lsq": "lsq", "pact": "dorefa", "dsq": "dsq", "brevitas": "brevitas", "none": "none"}


@dataclass(frozen=True)
class LayerAudit:
    """One convolution or linear layer.

    Args:
        name: of the layer in the network.
        kind: `Conv2d` or `Linear`.
        weight_bits, activation_bits: of the weight and of the layer's input; 32 for float.
        weight_quantizer, activation_quantizer: `lsq`, `dorefa`, `pact`, `dsq`, `brevitas`, or `none` for float.
        per_channel: one weight scale per output channel.
        edge: the first convolution or the last layer.
        signed: whether negative inputs can be represented; float can.
    """

    name: str
    kind: str
    weight_bits: int
    activation_bits: int
    weight_quantizer: str
    activation_quantizer: str
    per_channel: bool
    edge: bool
    signed: bool


def audit(model: nn.Module) -> list[LayerAudit]:
    """Every Conv2d and Linear that the forward pass calls, in its order, float ones included."""
    structure = structure_of(model)
    rows = []
    for name in structure.layers:
        layer = model.get_submodule(name)
        weight, activation = _Side.weight(layer), _Side.input(layer)
        rows.append(
            LayerAudit(
                name=name,
                kind="Conv2d" if isinstance(layer, nn.Conv2d) else "Linear",
                weight_bits=weight.bits,
                activation_bits=activation.bits,
                weight_quantizer=weight.title,
                activation_quantizer=activation.title,
                per_channel=weight.per_channel,
                edge=name in (structure.first, structure.last),
                signed=activation.signed,
            )
        )
    return rows


def departures(model: nn.Module, config: QuantizationConfig) -> list[str]:
    """One line for each layer whose bits or quantizers in force are not what `config` asks for; empty is good."""
    lines = []
    for row in audit(model):
        floating = config.quantizer == "none" or (row.edge and config.edge_bits == FLOAT_BITS)
        weight_title = "none" if floating else _WEIGHT_QUANTIZERS[config.quantizer]
        inner = (config.weight_bits, config.activation_bits)
        bits = (FLOAT_BITS, FLOAT_BITS) if floating else (config.edge_bits, config.edge_bits) if row.edge else inner
        wanted = (*bits, weight_title, "none" if floating else config.quantizer, config.per_channel and not floating)
        names = ("weight_bits", "activation_bits", "weight_quantizer", "activation_quantizer", "per_channel")
        for field, value in zip(names, wanted, strict=True):
            if getattr(row, field) != value:
                lines.append(f"{row.name}: {field} is {getattr(row, field)}, the configuration asks for {value}")
    return lines


def integer_codes(model: nn.Module) -> dict[str, Tensor]:
    """Layer name -> integer weight codes, int16, in the weight's shape; float layers are left out."""
    sides = {name: _Side.weight(model.get_submodule(name)) for name in structure_of(model).layers}
    return {name: side.codes() for name, side in sides.items() if side.quantized}


def scales(model: nn.Module) -> dict[str, Tensor]:
    """``<layer>.weight`` and ``<layer>.input`` -> step between neighbouring levels, detached.

    Shape () for one step, [C, 1, ...] for one per output channel. Activations that have seen no data are left out.
    """
    result = {}
    for name in structure_of(model).layers:
        layer = model.get_submodule(name)
        for suffix, side in (("weight", _Side.weight(layer)), ("input", _Side.input(layer))):
            if side.quantized and side.known:
                result[f"{name}.{suffix}"] = side.grid()[0].detach().clone()
    return result


def describe(model: nn.Module) -> dict[str, Any]:
    """Everything another program needs to read the integers, ready for JSON.

    ``{"format": 1, "layers": {name: {"kind", "edge", "weight": side, "input": side}}}``; a side has `quantizer`,
    `bits`, `signed`, `per_channel`, `codes` (smallest and largest), and `scale` and `offset` as flat lists (null before
    the first training pass), with value = scale * code + offset. A float side has `quantizer: none` and `bits: 32`.
    """
    layers = {}
    for row in audit(model):
        layer = model.get_submodule(row.name)
        layers[row.name] = {
            "kind": row.kind,
            "edge": row.edge,
            "weight": _Side.weight(layer).describe(),
            "input": _Side.input(layer).describe(),
        }
    return {"format": 1, "layers": layers}


@dataclass(frozen=True)
class _Side:
    """The weight or the input of a layer, and what quantizes it: one of ours, a Brevitas proxy, or nothing."""

    ours: Quantizer | None
    stock: Any
    tensor: Tensor | None

    @classmethod
    def weight(cls, layer: Any) -> _Side:
        if not hasattr(layer, "weight_quant"):
            return cls(None, None, None)
        return cls._of(layer.weight_quant, weight_quantizer(layer), layer.weight)

    @classmethod
    def input(cls, layer: Any) -> _Side:
        if not hasattr(layer, "input_quant"):
            return cls(None, None, None)
        return cls._of(layer.input_quant, input_quantizer(layer), None)

    @classmethod
    def _of(cls, proxy: Any, quantizer: nn.Module | None, tensor: Tensor | None) -> _Side:
        if not proxy.is_quant_enabled:
            return cls(None, None, None)
        if isinstance(quantizer, Quantizer):
            return cls(None if quantizer.bypassed else quantizer, None, tensor)
        return cls(None, proxy, tensor)

    @property
    def quantized(self) -> bool:
        return self.ours is not None or self.stock is not None

    @property
    def title(self) -> str:
        return self.ours.title if self.ours is not None else "none" if self.stock is None else "brevitas"

    @property
    def bits(self) -> int:
        if self.ours is not None:
            return self.ours.bits
        return FLOAT_BITS if self.stock is None else int(self.stock.bit_width())

    @property
    def signed(self) -> bool:
        return self.ours.signed if self.ours is not None else self.stock is None or bool(self.stock.is_signed)

    @property
    def per_channel(self) -> bool:
        if self.ours is not None:
            return self.ours.per_channel
        return self.stock is not None and bool(self.stock.scale().numel() > 1)

    @property
    def known(self) -> bool:
        return self.ours is None or self.ours.is_weight or bool(self.ours.initialised)

    def codes(self) -> Tensor:
        if self.tensor is None:
            raise ValueError("only weights have codes that can be read; those of an input change with the data")
        if self.ours is not None:
            return self.ours.codes(self.tensor.detach())
        with torch.no_grad():
            codes: Tensor = self.stock(self.tensor).int()
        return codes.to(torch.int16)

    def grid(self) -> tuple[Tensor, Tensor | None]:
        if self.ours is not None:
            return self.ours.grid()
        with torch.no_grad():
            return self.stock.scale(), None

    def code_range(self) -> list[int]:
        if self.ours is not None:
            return [self.ours.low, self.ours.high]
        narrow = bool(self.stock.is_narrow_range)
        if not self.signed:
            return [0, 2**self.bits - 1 - narrow]
        return [-(2 ** (self.bits - 1)) + narrow, 2 ** (self.bits - 1) - 1]

    def describe(self) -> dict[str, Any]:
        if not self.quantized:
            return {"quantizer": self.title, "bits": self.bits}
        step, offset = self.grid() if self.known else (None, None)
        zeros = None if step is None else torch.zeros_like(step)
        return {
            "quantizer": self.title,
            "bits": self.bits,
            "signed": self.signed,
            "per_channel": self.per_channel,
            "codes": self.code_range(),
            "scale": _numbers(step),
            "offset": _numbers(zeros if offset is None else offset),
        }


def _numbers(x: Tensor | None) -> list[float] | None:
    return None if x is None else x.detach().double().reshape(-1).tolist()
