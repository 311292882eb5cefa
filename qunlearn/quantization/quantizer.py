"""What all quantizers of this package have in common, and the switch that turns them off."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any, ClassVar, Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from qunlearn.quantization.grid import work_dtype

SMALLEST = 1e-8
"""Step sizes and clips are kept at least this large."""


class Grid(NamedTuple):
    """Where the levels lie: value = step * code + offset; an absent offset is zero."""

    step: Tensor
    offset: Tensor | None


class NotInitialisedError(RuntimeError):
    """An activation quantizer was used before it saw any data."""


class Quantizer(nn.Module):
    """A learned quantizer of one tensor: codes `low` to `high`, and a kernel with its published gradients.

    A training forward pass starts the scales from the tensor it sees, once; the buffer `initialised` remembers it.
    Before, a weight quantizer uses the weights it was built with, and an activation quantizer raises
    `NotInitialisedError`.

    Args:
        low: smallest integer code.
        high: largest integer code.
        scale_shape: () for one scale, [C, 1, ...] for one per output channel.
        is_weight: quantizes a weight rather than an activation.
    """

    title: ClassVar[str]
    """Name in the configuration and in the audit."""
    shows_integers: ClassVar[bool] = True
    """Whether Brevitas' own QuantTensor can carry the result: a grid through zero."""

    initialised: Tensor
    zero_point: Tensor
    bit_width: Tensor

    def __init__(self, *, low: int, high: int, scale_shape: tuple[int, ...], is_weight: bool) -> None:
        super().__init__()
        self.low, self.high, self.scale_shape, self.is_weight = low, high, tuple(scale_shape), is_weight
        self.register_buffer("initialised", torch.zeros((), dtype=torch.bool))
        # The same fact for Python: reading the buffer on every pass would wait for the device.
        self._ready = False
        self.bypassed = False
        self.rectifies = False
        """The ReLU in front was taken out of the network, since clipping at code 0 contains it."""
        self.int_quant = SimpleNamespace(input_view_impl=nn.Identity())  # Brevitas asks each tensor_quant for it
        self.register_buffer("zero_point", torch.zeros(()), persistent=False)
        self.register_buffer("bit_width", torch.tensor(float(self.bits)), persistent=False)

    @property
    def bits(self) -> int:
        """Bits that the codes in force need."""
        return (self.high - self.low).bit_length()

    @property
    def signed(self) -> bool:
        """Whether values below zero can be represented."""
        return self.low < 0

    @property
    def per_channel(self) -> bool:
        return bool(self.scale_shape)

    def start(self, x: Tensor) -> None:
        """Set the scales from the first tensor seen."""
        raise NotImplementedError

    def project(self) -> None:
        """Bring latent scales back into their range, in place."""
        raise NotImplementedError

    def kernel(self, x: Tensor, *, may_overwrite: bool) -> Tensor:
        """The quantized values, differentiable, in x's shape and dtype."""
        raise NotImplementedError

    def grid(self) -> Grid:
        """Step and offset of the levels that `kernel` produces, detached."""
        raise NotImplementedError

    def quantize(self, x: Tensor, *, may_overwrite: bool = False) -> Tensor:
        """Quantized values of `x`, of any shape, in its dtype.

        Args:
            may_overwrite: nothing but this call's backward holds the gradient of the result.

        Raises:
            NotInitialisedError: evaluation of an activation quantizer that has not been trained or loaded.
        """
        if self.bypassed:
            return F.relu(x) if self.rectifies else x
        if not self._ready:
            self._begin(x)
        if torch.is_grad_enabled():
            self.project()
        return self.kernel(x, may_overwrite=may_overwrite)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor | None, Tensor | None, Tensor | None]:
        """Brevitas' protocol: value, scale, zero point, bit width; all but the value absent where no integer fits."""
        value = self.quantize(x)
        if self.bypassed or not self.shows_integers:
            return value, None, None, None
        return value, self.grid().step, self.zero_point, self.bit_width

    def codes(self, x: Tensor) -> Tensor:
        """Integer codes of `x`, int16, in [`low`, `high`]."""
        with torch.no_grad():
            value = self.kernel(x.to(work_dtype(x)), may_overwrite=False)
            step, offset = self.grid()
            shifted = value if offset is None else value - offset
            return (shifted / step).round_().to(torch.int16)

    def reduce(self, x: Tensor, how: Literal["mean", "amax", "amin"]) -> Tensor:
        """`x` reduced to `scale_shape`."""
        dims = tuple(range(1, x.dim())) if self.per_channel else tuple(range(x.dim()))
        result: Tensor = getattr(x, how)(dim=dims, keepdim=True) if dims else x
        return result.reshape(self.scale_shape)

    def _begin(self, x: Tensor) -> None:
        if self.training:
            self.start(F.relu(x) if self.rectifies else x)
            self.initialised.fill_(True)
            self._ready = True
        elif not self.is_weight:
            raise NotInitialisedError(
                f"a {self.title} activation quantizer has seen no data yet, so its scale is unknown; "
                "run one forward pass in training mode, or load a trained checkpoint"
            )

    def _load_from_state_dict(self, *args: Any, **kwargs: Any) -> None:
        super()._load_from_state_dict(*args, **kwargs)
        self._ready = bool(self.initialised)

    def extra_repr(self) -> str:
        return f"{self.title}, {self.bits} bits, codes {self.low}..{self.high}"


@contextmanager
def bypass(model: nn.Module) -> Iterator[None]:
    """Within the context every quantizer of `model` passes its input through unchanged; parameters stay as they are.

    A ReLU that a quantizer took over is still applied. Scales get no gradient (None).
    """
    changed: list[tuple[nn.Module, str, bool]] = []
    for module in model.modules():
        for name in ("bypassed", "disable_quant"):
            if name in vars(module) and (name == "bypassed" or not _holds_ours(module)):
                changed.append((module, name, vars(module)[name]))
                setattr(module, name, True)
    try:
        yield
    finally:
        for module, name, value in changed:
            setattr(module, name, value)


def _holds_ours(proxy: nn.Module) -> bool:
    return any(isinstance(module, Quantizer) for module in proxy.modules())
