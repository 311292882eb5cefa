"""The quantizers as Brevitas injectors: what a Brevitas layer is given to build its `tensor_quant` from.

Brevitas keeps its layers, bit widths and integer codes; the arithmetic is that of this package's kernels.
"""

from __future__ import annotations

from brevitas.quant import (
    Int8ActPerTensorFloat,
    Int8WeightPerChannelFloat,
    Int8WeightPerTensorFloat,
    Uint8ActPerTensorFloat,
)

from qunlearn.quantization.dorefa import DoReFa
from qunlearn.quantization.dsq import DSQ
from qunlearn.quantization.lsq import LSQ
from qunlearn.quantization.pact import PACT


class LSQWeight(Int8WeightPerTensorFloat):  # type: ignore[misc]  # Brevitas has no types
    tensor_quant = LSQ
    narrow_range = False
    is_weight = True


class LSQUnsigned(Uint8ActPerTensorFloat):  # type: ignore[misc]
    tensor_quant = LSQ
    scale_shape = ()
    is_weight = False


class LSQSigned(Int8ActPerTensorFloat):  # type: ignore[misc]
    tensor_quant = LSQ
    scale_shape = ()
    is_weight = False


class DoReFaWeight(Int8WeightPerTensorFloat):  # type: ignore[misc]
    tensor_quant = DoReFa


class PACTUnsigned(Uint8ActPerTensorFloat):  # type: ignore[misc]
    tensor_quant = PACT


class PACTSigned(Int8ActPerTensorFloat):  # type: ignore[misc]
    tensor_quant = PACT
    narrow_range = True


class DSQWeight(Int8WeightPerTensorFloat):  # type: ignore[misc]
    tensor_quant = DSQ
    is_weight = True


class DSQUnsigned(Uint8ActPerTensorFloat):  # type: ignore[misc]
    tensor_quant = DSQ
    scale_shape = ()
    is_weight = False


class DSQSigned(Int8ActPerTensorFloat):  # type: ignore[misc]
    tensor_quant = DSQ
    scale_shape = ()
    is_weight = False


WEIGHTS = {"lsq": LSQWeight, "pact": DoReFaWeight, "dsq": DSQWeight}
"""Weight injector by quantizer; per-tensor and per-channel differ in the `scale_shape` that the layer adds."""
UNSIGNED = {"lsq": LSQUnsigned, "pact": PACTUnsigned, "dsq": DSQUnsigned, "brevitas": Uint8ActPerTensorFloat}
SIGNED = {"lsq": LSQSigned, "pact": PACTSigned, "dsq": DSQSigned, "brevitas": Int8ActPerTensorFloat}
STOCK_WEIGHTS = {False: Int8WeightPerTensorFloat, True: Int8WeightPerChannelFloat}
"""Brevitas' own, by whether scales are per channel."""
