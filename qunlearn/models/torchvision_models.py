"""torchvision's classifiers, untrained, fitted to the images at hand.

- Below 64 pixels ResNets get a 3 x 3 stride-1 first convolution without max-pooling, and MobileNetV2 stride 1 in its
  first convolution and its second stage: their own stems would shrink a 32-pixel image to one pixel.
- The first convolution takes the image's number of channels.
- Dropout and stochastic depth are taken out: their noise comes from the global generator, so neither the seed nor the
  thread would determine the weights, and a retain and a forget gradient would belong to two different networks.
"""

from __future__ import annotations

from typing import Any

import torchvision
from torch import nn
from torchvision.models import GoogLeNet, Inception3, MobileNetV2, ResNet, VisionTransformer
from torchvision.ops import StochasticDepth

SMALL_IMAGE = 64
"""Images with fewer pixels a side than this get the small stem."""

_RANDOM_LAYERS = (nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d, nn.AlphaDropout, StochasticDepth)


def names() -> tuple[str, ...]:
    """The names of torchvision's image classifiers."""
    return tuple(torchvision.models.list_models(module=torchvision.models))


def construct(name: str, *, classes: int, channels: int, image_size: int) -> nn.Module:
    """The classifier `name` for [B, `channels`, `image_size`, `image_size`] with `classes` logits."""
    model: nn.Module = torchvision.models.get_model(
        name, weights=None, num_classes=classes, **_options(name, image_size=image_size)
    )
    if image_size < SMALL_IMAGE:
        _use_small_stem(model)
    _take_out_random_layers(model)
    if channels != 3:
        _adapt_first_convolution(model, channels)
    return model


def _options(name: str, *, image_size: int) -> dict[str, Any]:
    kind = torchvision.models.get_model_builder(name).__annotations__["return"]
    if kind in (GoogLeNet, "GoogLeNet", Inception3, "Inception3"):
        return {"aux_logits": False, "init_weights": True}
    if kind in (VisionTransformer, "VisionTransformer"):
        return {"image_size": image_size}
    if kind in (MobileNetV2, "MobileNetV2") and image_size < SMALL_IMAGE:
        # torchvision's table with stride 1 in the second row: (expansion, channels, repeats, stride).
        first = [[1, 16, 1, 1], [6, 24, 2, 1], [6, 32, 3, 2], [6, 64, 4, 2]]
        return {"inverted_residual_setting": [*first, [6, 96, 3, 1], [6, 160, 3, 2], [6, 320, 1, 1]]}
    return {}


def _use_small_stem(model: nn.Module) -> None:
    if isinstance(model, ResNet):
        model.conv1 = _convolution(model.conv1.in_channels, like=model.conv1, kernel_size=3, stride=1, padding=1)
        model.maxpool = nn.Identity()
    elif isinstance(model, MobileNetV2):
        model.features[0][0].stride = (1, 1)


def _adapt_first_convolution(model: nn.Module, channels: int) -> None:
    for name, module in model.named_modules():
        if isinstance(module, nn.Conv2d):
            model.set_submodule(name, _convolution(channels, like=module))
            return
    raise ValueError(f"{type(model).__name__} has no convolution to take {channels} channels")


def _convolution(channels: int, *, like: nn.Conv2d, **changes: Any) -> nn.Conv2d:
    settings = {"kernel_size": like.kernel_size, "stride": like.stride, "padding": like.padding} | changes
    convolution = nn.Conv2d(channels, like.out_channels, bias=like.bias is not None, **settings)
    nn.init.kaiming_normal_(convolution.weight, mode="fan_out", nonlinearity="relu")
    return convolution


def _take_out_random_layers(model: nn.Module) -> None:
    for name, module in list(model.named_modules()):
        if isinstance(module, _RANDOM_LAYERS):
            model.set_submodule(name, nn.Identity())
