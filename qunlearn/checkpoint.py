"""Checkpoints: a folder of safetensors and text, never pickles.

``weights.safetensors``  the whole state dict; its sha256 is the checkpoint's digest
``quantization.json``    the bits and scales in force in each layer, for people and other programs
``trained_ids.txt``      opaque id of every image in the training set, one a line
``config.json``          blueprint, the caller's extra entries, and the sha256 of the other three files
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import safetensors.torch
import torch
from pydantic import ConfigDict, PositiveInt
from safetensors import SafetensorError
from torch import Tensor, nn

from qunlearn.config import ConfigError, ModelConfig, QuantizationConfig, Strict, validate
from qunlearn.data.atomic import replaced_folder
from qunlearn.data.idlist import checked
from qunlearn.models import build, construction_lock
from qunlearn.quantization import audit, quantize, scales

WEIGHTS = "weights.safetensors"
CONFIG = "config.json"
QUANTIZATION = "quantization.json"
TRAINED_IDS = "trained_ids.txt"


class CheckpointError(ValueError):
    """A checkpoint that cannot be used; the message is one line with the file and what is wrong."""


@dataclass(frozen=True)
class Blueprint:
    """All that is needed to construct a network, apart from its weights."""

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid")

    model: ModelConfig
    quantization: QuantizationConfig
    classes: PositiveInt
    channels: PositiveInt
    image_size: PositiveInt

    def build(self, seed: int) -> nn.Module:
        """A fresh, untrained, quantized network on the CPU."""
        # Quantized layers draw, and then discard, weights of their own: no other thread may draw its start meanwhile.
        with construction_lock, torch.random.fork_rng(devices=[]):
            network = build(
                self.model, classes=self.classes, channels=self.channels, image_size=self.image_size, seed=seed
            )
            return quantize(network, self.quantization)


@dataclass(frozen=True, eq=False)
class Checkpoint:
    """A loaded checkpoint; `model` is in eval mode on the CPU, `digest` the sha256 of its weights file."""

    model: nn.Module
    blueprint: Blueprint
    trained_ids: tuple[str, ...]
    digest: str
    extra: dict[str, Any]


class _Config(Strict):
    """The content of ``config.json``."""

    format: Literal[1]
    blueprint: Blueprint
    extra: dict[str, Any]
    sha256: dict[Literal["weights.safetensors", "quantization.json", "trained_ids.txt"], str]


def digest_of_model(model: nn.Module) -> str:
    """The digest that `save` would return for `model`."""
    return _sha256(_weights(model))


def save(
    model: nn.Module,
    folder: Path | str,
    *,
    blueprint: Blueprint,
    trained_ids: Sequence[str],
    extra: Mapping[str, Any] | None = None,
) -> str:
    """Write `model` to `folder`, which is replaced as a whole or, if anything fails, left as it was.

    Args:
        trained_ids: sample ids of the training set: what the weights may remember.
        extra: further entries, as far as JSON can hold them.

    Returns:
        The digest: sha256 of the weights file, in hex.

    Raises:
        ValueError: an unusable id, or NaN or infinity in `extra` or the scales.
        TypeError: `extra` or the model's state holds something else than JSON or tensors can.
    """
    files = {
        WEIGHTS: _weights(model),
        QUANTIZATION: _json(_quantization_record(model)),
        TRAINED_IDS: "".join(f"{name}\n" for name in checked(trained_ids)).encode(),
    }
    digests = {name: _sha256(content) for name, content in files.items()}
    config = {
        "format": 1,
        "blueprint": asdict(blueprint)
        | {"model": blueprint.model.model_dump(), "quantization": blueprint.quantization.model_dump()},
        "extra": dict(extra or {}),
        "sha256": digests,
    }
    files[CONFIG] = _json(config)
    with replaced_folder(Path(folder)) as fresh:
        for name, content in files.items():
            (fresh / name).write_bytes(content)
    return digests[WEIGHTS]


def load(folder: Path | str, *, digest: str | None = None) -> Checkpoint:
    """Read a checkpoint and check all of it.

    Training goes on from here as it would have from the saved model, with one exception: Brevitas' stock activation
    quantizers do not save how far the collection of their first statistics has come, and count it as finished.

    Args:
        digest: the expected sha256 of the weights file.

    Raises:
        CheckpointError: a file is missing, truncated or changed, or the weights belong to another network.
    """
    folder = Path(folder)
    config = _read_config(folder)
    files = {name: _read(folder / name) for name in (WEIGHTS, QUANTIZATION, TRAINED_IDS)}
    for name, expected in config.sha256.items():
        if _sha256(files[name]) != expected:
            raise CheckpointError(
                f"{folder / name}: truncated or changed: its {len(files[name])} bytes have not the sha256 in {CONFIG}"
            )
    found = _sha256(files[WEIGHTS])
    if digest is not None and found != digest:
        raise CheckpointError(f"{folder}: another checkpoint than asked for: its digest is {found}, not {digest}")
    model = _model_with(files[WEIGHTS], config.blueprint, where=folder / WEIGHTS)
    if not _same_scales(json.loads(files[QUANTIZATION])["scales"], _quantization_record(model)["scales"]):
        # Stock Brevitas quantizers take a state dict without scales for one of an untrained network.
        raise CheckpointError(f"{folder / QUANTIZATION}: its scales are not those of the network with these weights")
    return Checkpoint(model, config.blueprint, tuple(files[TRAINED_IDS].decode().splitlines()), found, config.extra)


def _weights(model: nn.Module) -> bytes:
    """The state dict as the bytes of a safetensors file: contiguous, on the CPU, the same bytes for the same values."""
    tensors: dict[str, Tensor] = {}
    for name, value in model.state_dict().items():
        if not isinstance(value, Tensor):
            raise TypeError(f"{name} in the state dict is {type(value).__name__}; a checkpoint holds tensors only")
        # A copy: safetensors refuses tensors that share memory, such as tied weights.
        tensors[name] = value.detach().cpu().clone(memory_format=torch.contiguous_format)
    return safetensors.torch.save(tensors)


def _quantization_record(model: nn.Module) -> dict[str, Any]:
    return {
        "layers": [asdict(layer) for layer in audit(model)],
        "scales": {name: scale.detach().cpu().double().flatten().tolist() for name, scale in scales(model).items()},
    }


def _same_scales(stored: dict[str, list[float]], found: dict[str, list[float]]) -> bool:
    """Equal up to rounding, which differs between devices where a scale is computed from weights."""
    return stored.keys() == found.keys() and all(
        len(stored[name]) == len(found[name]) and np.allclose(stored[name], found[name], rtol=1e-4, atol=0.0)
        for name in stored
    )


def _json(content: Mapping[str, Any]) -> bytes:
    return (json.dumps(content, indent=1, sort_keys=True, allow_nan=False) + "\n").encode()


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise CheckpointError(f"{path}: {error.strerror}; the checkpoint is incomplete or not there") from None


def _read_config(folder: Path) -> _Config:
    path = folder / CONFIG
    try:
        content = json.loads(_read(path))
    except ValueError as error:
        if isinstance(error, CheckpointError):
            raise
        raise CheckpointError(f"{path}: truncated or not JSON: {error}") from None
    if not isinstance(content, dict):
        raise CheckpointError(f"{path}: must hold an object, not {type(content).__name__}")
    try:
        config = validate(_Config, content, where=str(path))
    except ConfigError as error:
        raise CheckpointError("; ".join(str(error).splitlines())) from None
    missing = {WEIGHTS, QUANTIZATION, TRAINED_IDS} - set(config.sha256)
    if missing:
        raise CheckpointError(f"{path}: sha256: missing for {', '.join(sorted(missing))}")
    return config


def _model_with(content: bytes, blueprint: Blueprint, *, where: Path) -> nn.Module:
    try:
        tensors = safetensors.torch.load(content)
    except SafetensorError as error:
        raise CheckpointError(f"{where}: not a safetensors file: {error}") from None
    try:
        model = blueprint.build(seed=0)
        # On the CPU: Brevitas' stock quantizers create their scale parameters anew while loading. Not strict, since
        # before training they miss entries that they do not save either; the comparison below is the stricter one.
        model.load_state_dict(tensors, strict=False)
    except ConfigError as error:
        raise CheckpointError(f"{where.with_name(CONFIG)}: {error}") from None
    except RuntimeError as error:
        raise CheckpointError(
            f"{where}: weights of another network than {blueprint.model.name}: {_shortened(error)}"
        ) from None
    problem = _first_difference(model.state_dict(), tensors)
    if problem is not None:
        raise CheckpointError(f"{where}: weights of another network than {blueprint.model.name}: {problem}")
    return model.eval()


def _first_difference(held: Mapping[str, Tensor], stored: Mapping[str, Tensor]) -> str | None:
    """What keeps a model's state from being exactly the stored one, None where it is: loading casts without a word."""
    for name in sorted(held.keys() | stored.keys()):
        if name not in stored:
            return f"{name} is missing"
        if name not in held:
            return f"{name} has no place in it"
        if not _identical(held[name], stored[name]):
            return f"{name} is {_kind(stored[name])}, it needs {_kind(held[name])}"
    return None


def _kind(tensor: Tensor) -> str:
    return f"{str(tensor.dtype).removeprefix('torch.')} {list(tensor.shape)}"


def _identical(a: Tensor, b: Tensor) -> bool:
    """The same type, shape and bits; NaN equals NaN."""
    return a.dtype == b.dtype and a.shape == b.shape and torch.equal(_bits(a), _bits(b))


def _bits(tensor: Tensor) -> Tensor:
    return tensor.contiguous().reshape(-1).view(torch.uint8)


def _shortened(error: Exception, *, length: int = 300) -> str:
    line = " ".join(str(error).split())
    return line if len(line) <= length else f"{line[:length]} ..."
