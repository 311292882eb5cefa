"""Quantization-aware networks: quantizers with their published gradients, conversion, and what is really in force."""

from qunlearn.quantization.audit import LayerAudit, audit, departures, describe, integer_codes, scales
from qunlearn.quantization.convert import quantize
from qunlearn.quantization.groups import layer_blocks, parameter_groups
from qunlearn.quantization.guard import ScaleGuard
from qunlearn.quantization.quantizer import NotInitialisedError, bypass

__all__ = [
    "LayerAudit",
    "NotInitialisedError",
    "ScaleGuard",
    "audit",
    "bypass",
    "departures",
    "describe",
    "integer_codes",
    "layer_blocks",
    "parameter_groups",
    "quantize",
    "scales",
]
