"""Float networks by name: the CIFAR residual family, and torchvision's classifiers."""

from __future__ import annotations

import torch
from torch import nn

from qunlearn.config import ConfigError, ModelConfig
from qunlearn.models import torchvision_models
from qunlearn.models.cifar import CifarResNet
from qunlearn.models.tracing import construction_lock, trace

__all__ = ["build", "construction_lock", "names", "trace"]

_CIFAR_BLOCKS = {"resnet8": 1, "resnet20": 3}
# What torchvision's networks, torch and the tracer raise for images or structures they cannot take.
_UNFIT = (AssertionError, IndexError, NameError, RuntimeError, TypeError, ValueError)


def names() -> tuple[str, ...]:
    """Every name that `build` knows."""
    return (*_CIFAR_BLOCKS, *torchvision_models.names())


def build(config: ModelConfig, *, classes: int, channels: int, image_size: int, seed: int) -> nn.Module:
    """An untrained network, float32 [B, `channels`, `image_size`, `image_size`] -> logits [B, `classes`].

    The same arguments give the same weights, in whatever thread and whatever the global generator was, which is left as
    it was found.

    Raises:
        ConfigError: an unknown name, or a network that cannot be traced or cannot take such images.
    """
    if config.name not in names():
        raise ConfigError(f"model.name = {config.name!r}: no such network; there are {', '.join(names())}")
    with construction_lock, torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        if config.name in _CIFAR_BLOCKS:
            blocks = _CIFAR_BLOCKS[config.name]
            return CifarResNet(blocks=blocks, width=config.width, classes=classes, channels=channels)
        try:
            model = torchvision_models.construct(config.name, classes=classes, channels=channels, image_size=image_size)
            _try_out(model, channels=channels, image_size=image_size)
        except _UNFIT as error:
            raise ConfigError(
                f"model.name = {config.name!r}: cannot be used for {channels} x {image_size} x {image_size} images "
                f"({type(error).__name__}: {' '.join(str(error).split())}); "
                "choose a network for small images, such as resnet8, resnet20, resnet18 or mobilenet_v2"
            ) from error
    return model


def _try_out(model: nn.Module, *, channels: int, image_size: int) -> None:
    """Trace the network and run the graph once on a blank image: what quantization needs works."""
    graph = trace(model).eval()
    with torch.no_grad():
        graph(torch.zeros(1, channels, image_size, image_size))
    model.train()
