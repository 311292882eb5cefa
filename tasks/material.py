"""What every model cell works on: the prepared images on a device, the split, and the network's blueprint."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from qunlearn.checkpoint import Blueprint, Checkpoint
from qunlearn.config import ConfigError
from qunlearn.data.batches import ImagePool
from qunlearn.data.erased import digest as erased_digest
from qunlearn.data.imageset import ImageSet, load
from qunlearn.data.pool import make_pool
from qunlearn.data.splits import Split, check_gate, load_split
from qunlearn.training import resolve_device
from tasks.workspace import Workspace


@dataclass(frozen=True, eq=False)
class Material:
    image_set: ImageSet
    split: Split
    pool: ImagePool
    blueprint: Blueprint

    @classmethod
    def load(cls, workspace: Workspace) -> Material:
        """Raises ValueError naming the file when data or splits are missing, damaged or do not fit together."""
        params = workspace.params
        image_set = load(workspace.prepared)
        split = load_split(workspace.splits)
        training = params.training
        pool = make_pool(
            image_set,
            target=params.data.target,
            crop_padding=training.crop_padding,
            flip=training.flip,
            device=str(resolve_device(training.device)),
            channels_last=training.channels_last,
        )
        blueprint = Blueprint(
            model=params.model,
            quantization=params.quantization,
            classes=pool.classes,
            channels=image_set.images.shape[1],
            image_size=image_set.images.shape[2],
        )
        return cls(image_set, split, pool, blueprint)

    def indices(self, partition: str, subset: str | None = None) -> Tensor:
        return self.split.indices(self.image_set, partition=partition, subset=subset).to(self.pool.device)

    def check_gate(self, parent: Checkpoint) -> None:
        """Refuse to unlearn or evaluate a model on another split than the one it was trained on."""
        check_gate(
            trained_ids=parent.trained_ids,
            forget_ids=self.split.ids("train", "forget"),
            retain_ids=self.split.ids("train", "retain"),
            held_out_ids=[*self.split.ids("validation"), *self.split.ids("test")],
        )

    def check_erased(self, workspace: Workspace) -> None:
        """Refuse splits that were made from another list of erased ids."""
        found, used = erased_digest(workspace.erased), self.split.manifest["erased_sha256"]
        if found != used:
            raise ConfigError(
                f"{workspace.erased}: sha256 is {found[:12]}, but data/splits was made with {used[:12]}; "
                "run `dvc repro split` to take the erased samples out"
            )


def use_threads(count: int | None) -> None:
    """Set PyTorch's threads of this process; None leaves its choice."""
    if count is not None:
        torch.set_num_threads(count)
