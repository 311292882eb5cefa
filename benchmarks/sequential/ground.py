"""Images, split and network of a study, and which samples each of its requests asks for."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from benchmarks.sequential.setting import Setting
from qunlearn.checkpoint import Blueprint
from qunlearn.config import Params
from qunlearn.data.batches import ImagePool
from qunlearn.data.draw import hash_order
from qunlearn.data.pool import make_pool
from qunlearn.data.sources import read
from qunlearn.data.splits import make_split


@dataclass(frozen=True, eq=False)
class Ground:
    """What all models of a study are made from and measured on.

    Args:
        ids: of all images of the pool.
        train, validation, test: positions in the pool, int64, ascending.
        requests: positions that each request asks for, int64 [n] each; no sample is asked for twice.
    """

    params: Params
    pool: ImagePool
    blueprint: Blueprint
    ids: tuple[str, ...]
    train: Tensor
    validation: Tensor
    test: Tensor
    requests: tuple[Tensor, ...]

    def asked(self, number: int) -> Tensor:
        """All positions that requests 1 to `number` ask for, ascending."""
        return torch.cat(self.requests[:number]).sort().values if number else self.train[:0]

    def retained(self, number: int) -> Tensor:
        """Training images that remain after request `number`; 0 is before the first."""
        return self.train[~torch.isin(self.train, self.asked(number))]

    def named(self, positions: Tensor) -> tuple[str, ...]:
        return tuple(self.ids[position] for position in positions.tolist())


def ground(setting: Setting, params: Params) -> Ground:
    """Read and split the images; requests are drawn from the training images by `split.seed`.

    Raises:
        ValueError: a request would be empty, or nothing would be left to train on.
    """
    image_set = read(params.data)
    target = params.data.target
    split = make_split(image_set, params.split, target=target, erased=frozenset(), erased_digest="")
    recipe = params.training
    pool = make_pool(image_set, target=target, crop_padding=recipe.crop_padding, flip=recipe.flip)
    train = split.indices(image_set, partition="train")
    size = round(setting.share * len(train))
    if not 0 < size * setting.requests < len(train):
        raise ValueError(
            f"{setting.requests} requests of {size} samples each cannot be drawn from {len(train)} training images; "
            "change share or requests"
        )
    ids = [image_set.ids[position] for position in train.tolist()]
    order = hash_order(ids, seed=params.split.seed, purpose="sequential requests")
    drawn = train[torch.from_numpy(np.ascontiguousarray(order))][: size * setting.requests]
    return Ground(
        params=params,
        pool=pool,
        blueprint=Blueprint(
            model=params.model,
            quantization=params.quantization,
            classes=pool.classes,
            channels=image_set.images.shape[1],
            image_size=image_set.images.shape[2],
        ),
        ids=tuple(image_set.ids),
        train=train,
        validation=split.indices(image_set, partition="validation"),
        test=split.indices(image_set, partition="test"),
        requests=tuple(one.sort().values for one in torch.split(drawn, size)),
    )
