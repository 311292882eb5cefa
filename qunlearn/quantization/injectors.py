"""The quantizers as Brevitas injectors: what a Brevitas layer is given to build its `tensor_quant` from.

Brevitas keeps its layers, bit widths and integer codes; the arithmetic is that of this package's kernels.
"""

from __future__ import annotations

from typing import Any

from brevitas.proxy import ActQuantProxyFromInjector, WeightQuantProxyFromInjector
from brevitas.quant import (
    Int8ActPerTensorFloat,
    Int8WeightPerChannelFloat,
    Int8WeightPerTensorFloat,
    Uint8ActPerTensorFloat,
)
from torch import Tensor, nn

from qunlearn.quantization.dorefa import DoReFa
from qunlearn.quantization.dsq import DSQ
from qunlearn.quantization.lsq import LSQ
from qunlearn.quantization.pact import PACT


class _KeepsItsQuantizer:
    """Brevitas builds a new `tensor_quant`, with new parameters, whenever a weight is assigned or a state dict loaded.

    That would leave optimizers with parameters nobody uses, and on another device than the model's.
    """

    tensor_quant: nn.Module | None

    def init_tensor_quant(self, *args: Any, **kwargs: Any) -> None:
        if not _built(self):
            super().init_tensor_quant(*args, **kwargs)  # type: ignore[misc]

    def _load_from_state_dict(self, *args: Any, **kwargs: Any) -> None:
        nn.Module._load_from_state_dict(self, *args, **kwargs)  # type: ignore[arg-type]


def _built(proxy: Any) -> bool:
    return proxy.tensor_quant is not None or getattr(proxy, "fused_activation_quant_proxy", None) is not None


class WeightProxy(_KeepsItsQuantizer, WeightQuantProxyFromInjector):  # type: ignore[misc]  # Brevitas has no types
    """Brevitas' weight proxy around one of this package's quantizers."""

    def create_quant_tensor(self, qt_args: tuple[Any, ...]) -> Any:
        """Brevitas' QuantTensor, or the plain value where the levels fit no integer grid through zero."""
        value: Tensor = qt_args[0]
        return value if qt_args[1] is None else super().create_quant_tensor(qt_args)


class ActivationProxy(_KeepsItsQuantizer, ActQuantProxyFromInjector):  # type: ignore[misc]  # Brevitas has no types
    """Brevitas' activation proxy around one of this package's quantizers."""


class LSQWeight(Int8WeightPerTensorFloat):  # type: ignore[misc]
    tensor_quant = LSQ
    proxy_class = WeightProxy
    narrow_range = False
    is_weight = True


class LSQUnsigned(Uint8ActPerTensorFloat):  # type: ignore[misc]
    tensor_quant = LSQ
    proxy_class = ActivationProxy
    scale_shape = ()
    is_weight = False


class LSQSigned(Int8ActPerTensorFloat):  # type: ignore[misc]
    tensor_quant = LSQ
    proxy_class = ActivationProxy
    scale_shape = ()
    is_weight = False


class DoReFaWeight(Int8WeightPerTensorFloat):  # type: ignore[misc]
    tensor_quant = DoReFa
    proxy_class = WeightProxy


class PACTUnsigned(Uint8ActPerTensorFloat):  # type: ignore[misc]
    tensor_quant = PACT
    proxy_class = ActivationProxy


class PACTSigned(Int8ActPerTensorFloat):  # type: ignore[misc]
    tensor_quant = PACT
    proxy_class = ActivationProxy
    narrow_range = True


class DSQWeight(Int8WeightPerTensorFloat):  # type: ignore[misc]
    tensor_quant = DSQ
    proxy_class = WeightProxy
    is_weight = True


class DSQUnsigned(Uint8ActPerTensorFloat):  # type: ignore[misc]
    tensor_quant = DSQ
    proxy_class = ActivationProxy
    scale_shape = ()
    is_weight = False


class DSQSigned(Int8ActPerTensorFloat):  # type: ignore[misc]
    tensor_quant = DSQ
    proxy_class = ActivationProxy
    scale_shape = ()
    is_weight = False


WEIGHTS = {"lsq": LSQWeight, "pact": DoReFaWeight, "dsq": DSQWeight}
"""Weight injector by quantizer; per-tensor and per-channel differ in the `scale_shape` that the layer adds."""
UNSIGNED = {"lsq": LSQUnsigned, "pact": PACTUnsigned, "dsq": DSQUnsigned, "brevitas": Uint8ActPerTensorFloat}
SIGNED = {"lsq": LSQSigned, "pact": PACTSigned, "dsq": DSQSigned, "brevitas": Int8ActPerTensorFloat}
STOCK_WEIGHTS = {False: Int8WeightPerTensorFloat, True: Int8WeightPerChannelFloat}
"""Brevitas' own, by whether scales are per channel."""
