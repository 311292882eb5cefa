"""Residual networks for small images: the CIFAR family of He et al. (arXiv 1512.03385, section 4.2).

``6n + 2`` layers with weights: a 3 x 3 stem, three stages of n blocks with `width`, 2 `width` and 4 `width` channels,
and one linear layer; n = 1 is resnet8, n = 3 resnet20. Shortcuts between stages are the paper's option A, which has no
weights: every second pixel, and zeros for the new channels. Every ReLU is a module of its own.
"""

from __future__ import annotations

from typing import cast

from torch import Tensor, nn
from torch.nn import functional as F


class PaddedShortcut(nn.Module):
    """Option A: [B, C, H, W] -> [B, C + `added_channels`, ceil(H/2), ceil(W/2)] without weights."""

    def __init__(self, added_channels: int) -> None:
        super().__init__()
        self.before = added_channels // 2
        self.after = added_channels - self.before

    def forward(self, x: Tensor) -> Tensor:
        return F.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, self.before, self.after))


class BasicBlock(nn.Module):
    """Two 3 x 3 convolutions around a shortcut; `stride` 2 halves the image, rounding up."""

    def __init__(self, channels_in: int, channels_out: int, *, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels_in, channels_out, 3, stride=stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels_out)
        self.relu1 = nn.ReLU()
        self.conv2 = nn.Conv2d(channels_out, channels_out, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels_out)
        self.shortcut: nn.Module = nn.Identity() if stride == 1 else PaddedShortcut(channels_out - channels_in)
        self.relu2 = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        out = self.relu1(self.bn1(self.conv1(x)))
        out = self.bn2(self.conv2(out)) + self.shortcut(x)
        return cast(Tensor, self.relu2(out))


class CifarResNet(nn.Module):
    """float32 [B, `channels`, H, W] -> logits [B, `classes`], for images from 8 x 8 up.

    Args:
        blocks: n, blocks a stage; the network has 6n + 2 layers.
        width: channels of the first stage.
    """

    def __init__(self, *, blocks: int, width: int, classes: int, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, width, 3, padding=1, bias=False)
        self.bn = nn.BatchNorm2d(width)
        self.relu = nn.ReLU()
        self.stage1 = _stage(width, width, blocks=blocks, stride=1)
        self.stage2 = _stage(width, 2 * width, blocks=blocks, stride=2)
        self.stage3 = _stage(2 * width, 4 * width, blocks=blocks, stride=2)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.flatten = nn.Flatten()
        self.fc = nn.Linear(4 * width, classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, x: Tensor) -> Tensor:
        x = self.relu(self.bn(self.conv(x)))
        x = self.stage3(self.stage2(self.stage1(x)))
        return cast(Tensor, self.fc(self.flatten(self.pool(x))))


def _stage(channels_in: int, channels_out: int, *, blocks: int, stride: int) -> nn.Sequential:
    first = BasicBlock(channels_in, channels_out, stride=stride)
    return nn.Sequential(first, *(BasicBlock(channels_out, channels_out, stride=1) for _ in range(blocks - 1)))
