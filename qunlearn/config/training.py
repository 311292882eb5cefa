"""The blocks `model`, `quantization` and `training`."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt, model_validator

from qunlearn.config.base import Strict


class ModelConfig(Strict):
    name: str = "resnet8"
    """`resnet8`, `resnet20`, or any FX-traceable classifier of torchvision."""
    width: PositiveInt = 16
    """Channels of the first stage of the resnet8/resnet20 family; other networks have none."""


class QuantizationConfig(Strict):
    quantizer: Literal["lsq", "pact", "dsq", "brevitas", "none"] = "lsq"
    weight_bits: int = Field(default=4, ge=2, le=8)
    activation_bits: int = Field(default=4, ge=2, le=8)
    edge_bits: Literal[2, 3, 4, 5, 6, 7, 8, 32] = 8
    """Bits of weights and inputs of the first convolution and the last layer; 32 keeps them float."""
    per_channel: bool = False
    """One weight scale per output channel instead of one per tensor."""


class TrainingConfig(Strict):
    """The recipe of the original model and of the retrained reference."""

    epochs: PositiveInt = 182
    batch_size: PositiveInt = 256
    learning_rate: PositiveFloat = 0.1
    momentum: float = Field(default=0.9, ge=0.0, lt=1.0)
    nesterov: bool = True
    weight_decay: NonNegativeFloat = 5e-4
    schedule: Literal["cosine", "one_cycle"] = "cosine"
    warmup_epochs: NonNegativeFloat = 0.0
    """Linear warm-up of the cosine schedule, in epochs; one_cycle has its own."""
    label_smoothing: float = Field(default=0.0, ge=0.0, lt=1.0)
    crop_padding: NonNegativeInt = 4
    """Random crops of the image padded by this many pixels; 0 turns them off."""
    flip: bool = True
    """Random horizontal flips."""
    precision: Literal["fp32", "bf16"] = "fp32"
    channels_last: bool = False
    device: Literal["auto", "cpu", "cuda"] = "auto"

    @model_validator(mode="after")
    def _possible(self) -> TrainingConfig:
        if self.nesterov and self.momentum == 0.0:
            raise ValueError("nesterov: true needs momentum above 0; set momentum, or nesterov: false")
        if self.schedule == "one_cycle" and self.warmup_epochs > 0:
            raise ValueError(f"one_cycle warms up by itself; set warmup_epochs: 0, not {self.warmup_epochs}")
        if self.warmup_epochs >= self.epochs:
            raise ValueError(f"warmup_epochs: {self.warmup_epochs} must be less than epochs: {self.epochs}")
        return self
