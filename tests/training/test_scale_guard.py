"""Why the training loop guards learned scales: without it, LSQ from scratch at a high learning rate ends at chance."""

from __future__ import annotations

import pytest
import torch
from sklearn.datasets import load_digits

from qunlearn.checkpoint import Blueprint
from qunlearn.config import ModelConfig, QuantizationConfig, TrainingConfig
from qunlearn.data.batches import ImagePool, Transform
from qunlearn.quantization import ScaleGuard
from qunlearn.training import train

RECIPE = TrainingConfig(epochs=6, batch_size=64, learning_rate=0.6, crop_padding=0, flip=False)
BLUEPRINT = Blueprint(ModelConfig(), QuantizationConfig(), classes=10, channels=1, image_size=8)


@pytest.fixture(scope="module")
def pool() -> ImagePool:
    digits = load_digits()
    images = torch.from_numpy(digits.images * 15.9375).to(torch.uint8)[:1200, None]
    return ImagePool(images, torch.from_numpy(digits.target[:1200]).long(), Transform((0.3,), (0.37,)), classes=10)


def accuracy(pool: ImagePool, seed: int) -> float:
    result = train(BLUEPRINT.build(seed), pool, torch.arange(len(pool)), RECIPE, seed=seed)
    return result.epochs[-1]["accuracy"]


@pytest.mark.slow
def test_training_survives_a_high_learning_rate_only_with_the_guard(pool, monkeypatch):
    assert all(accuracy(pool, seed) > 90 for seed in range(3))
    monkeypatch.setattr(ScaleGuard, "__exit__", lambda *_: None)
    assert any(accuracy(pool, seed) < 50 for seed in range(3))
