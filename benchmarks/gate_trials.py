"""Champions, models that never saw the samples to forget, and such samples: what benchmarks.gate_calibration judges."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.stats import norm

from qunlearn.checkpoint import Blueprint
from qunlearn.config import DigitsSource, ModelConfig, QuantizationConfig, TorchvisionSource, TrainingConfig
from qunlearn.data.batches import ImagePool, Transform, infer
from qunlearn.data.sources import read
from qunlearn.deletion.gates import Readings
from qunlearn.training import train

SIZES = (1, 5, 20, 30, 100, 300)
CLASSES = 10
SPREAD = 1.5
"""Standard deviation of the log-odds of a simulated sample's true class."""

Ints = np.ndarray[Any, np.dtype[np.int64]]
Trial = tuple[Readings, Readings, Readings]
"""Champion, a model that never saw the samples to forget, and another such one."""


def simulated(size: int, *, auc: float, seed: int) -> Trial:
    """Logits of networks that share the difficulty of their samples half and half with their own noise."""
    generator = np.random.default_rng(seed)
    counts = {"forget": size, "retain": 140, "validation": 140, "test": 360}
    labels = {name: generator.integers(CLASSES, size=count) for name, count in counts.items()}
    difficulty = {name: generator.normal(size=count) for name, count in counts.items()}
    lead = _lead(auc)

    def network(*trained: str) -> Readings:
        logits = {}
        for name, truth in labels.items():
            ahead = (difficulty[name] + generator.normal(size=len(truth))) / 2**0.5 + lead * (name in trained)
            logits[name] = generator.normal(scale=0.3, size=(len(truth), CLASSES))
            own = np.arange(len(truth)), truth
            logits[name][own] = -np.inf
            logits[name][own] = np.log(np.exp(logits[name]).sum(axis=1)) + 4.0 + SPREAD * ahead
        return Readings(logits, labels)

    return network("forget", "retain"), network("retain"), network("retain")


def over_forgotten(unseen: Readings, *, auc: float) -> Readings:
    """A simulated model that never saw the samples, made so unsure of them that they win only `auc` of the pairs.

    Samples that are so hard by nature look the same to a model that is as it should be.
    """
    forget, labels = unseen.logits["forget"].copy(), unseen.labels["forget"]
    forget[np.arange(len(labels)), labels] += SPREAD * _lead(auc)
    return Readings({**unseen.logits, "forget": forget}, unseen.labels)


def _lead(auc: float) -> float:
    """Distance of two normal laws, in standard deviations, such that the upper one wins `auc` of the pairs."""
    return 2**0.5 * float(norm.ppf(auc))


@dataclass(frozen=True)
class Networks:
    """What is trained in the real part, per split."""

    source: str
    root: Path
    subset: int | None
    width: int
    recipe: TrainingConfig
    pool: int = 300

    def trials(self, *, seed: int, draws: int) -> Iterator[tuple[int, Trial]]:
        """(number of samples, networks read on them), `draws` times for each of `SIZES`."""
        images, parts = self._split(seed)
        kept = np.concatenate([parts["retain"], parts["forget"]])
        models = [
            self._trained(images, indices, seed=3 * seed + number)
            for number, indices in enumerate((kept, parts["retain"], parts["retain"]))
        ]
        generator = np.random.default_rng(seed)
        parts["retain"] = generator.permutation(parts["retain"])[: len(parts["validation"])]
        read_once = [
            {name: infer(model, images, torch.from_numpy(one)).numpy() for name, one in parts.items()}
            for model in models
        ]
        labels = {name: images.labels[torch.from_numpy(one)].numpy() for name, one in parts.items()}
        for size in SIZES:
            for _ in range(draws):
                drawn = generator.permutation(self.pool)[:size]
                asked = labels | {"forget": labels["forget"][drawn]}
                one, two, three = (Readings(r | {"forget": r["forget"][drawn]}, asked) for r in read_once)
                yield size, (one, two, three)

    def _split(self, seed: int) -> tuple[ImagePool, dict[str, Ints]]:
        """All images, and the positions of each set: test is a fifth, or the source's own; validation a tenth."""
        drawn = {"subset": self.subset, "seed": seed}
        if self.source == "digits":
            images = read(DigitsSource.model_validate(drawn))
        else:
            images = read(TorchvisionSource.model_validate({"source": self.source, "root": self.root, **drawn}))
        generator = np.random.default_rng(seed)
        official = images.official_test_mask()
        own = generator.permutation(np.flatnonzero(~official))
        if images.meta.official_test:
            test = np.flatnonzero(official)
        else:
            test, own = np.split(own, [len(own) // 5])
        validation, forget, retain = np.split(own, [len(own) // 10, len(own) // 10 + self.pool])
        transform = Transform(
            tuple(images.meta.mean), tuple(images.meta.std), self.recipe.crop_padding, self.recipe.flip
        )
        everything = ImagePool(
            torch.from_numpy(np.array(images.images)), torch.from_numpy(np.array(images.labels)), transform, CLASSES
        )
        return everything, {"forget": forget, "retain": retain, "validation": validation, "test": test}

    def _trained(self, images: ImagePool, indices: Ints, *, seed: int) -> torch.nn.Module:
        model = Blueprint(
            model=ModelConfig(name="resnet8", width=self.width),
            quantization=QuantizationConfig(quantizer="lsq", weight_bits=4, activation_bits=4),
            classes=CLASSES,
            channels=images.images.shape[1],
            image_size=images.images.shape[2],
        ).build(seed)
        train(model, images, torch.from_numpy(indices), self.recipe, seed=seed)
        return model
