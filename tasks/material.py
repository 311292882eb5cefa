"""What every model cell works on: the prepared images on a device, the split, and the network's blueprint."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Set
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from qunlearn.checkpoint import Blueprint, Checkpoint
from qunlearn.config import ConfigError
from qunlearn.data.batches import ImagePool
from qunlearn.data.erased import digest as erased_digest
from qunlearn.data.imageset import ImageSet, load
from qunlearn.data.pool import make_pool
from qunlearn.data.scenarios import Subset
from qunlearn.data.splits import Split, check_gate, load_split
from qunlearn.data.statistics import with_statistics
from qunlearn.training import resolve_device
from qunlearn.unlearning.problem import Need, needs_adjacency
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
        _check_split(workspace, image_set, split)
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

    def settings(self, indices: Tensor) -> dict[str, Any]:
        """What decides a cell's weights beside its own parameters, for its fingerprint.

        Threads and device belong to it: they change the order of sums, and with it the last bits.

        Args:
            indices: the images that the cell reads; their ids, which hold the content, go in with their labels.
        """
        positions = indices.cpu().sort().values
        labels = self.pool.labels[positions.to(self.pool.device)].tolist()
        pairs = (f"{self.image_set.ids[p]} {label}\n" for p, label in zip(positions.tolist(), labels, strict=True))
        return {
            "network": {
                "model": self.blueprint.model.model_dump(mode="json"),
                "quantization": self.blueprint.quantization.model_dump(mode="json"),
                "channels": self.blueprint.channels,
                "image_size": self.blueprint.image_size,
            },
            "interface": self.interface(),
            "labels": hashlib.sha256("".join(pairs).encode()).hexdigest(),
            "machine": {
                "threads": torch.get_num_threads(),
                "device": self.pool.device.type,
                "torch": torch.__version__,
            },
        }

    def interface(self) -> dict[str, Any]:
        """What goes into the network and what its logits mean; kept with every checkpoint."""
        target, transform = str(self.split.manifest["target"]), self.pool.transform
        return {
            "target": target,
            "classes": list(self.image_set.class_names(target)),
            "mean": list(transform.mean),
            "std": list(transform.std),
        }

    def for_model(self, found: Checkpoint) -> Material:
        """The same images, normalised as the model was trained.

        Statistics of the prepared images change when samples are erased; those of a trained model never do.

        Raises:
            ConfigError: the model answers another question than the one the parameters pose.
        """
        known, asked = found.extra.get("interface"), self.interface()
        if not isinstance(known, dict) or any(known.get(key) != asked[key] for key in ("target", "classes")):
            raise ConfigError(
                f"weights {found.digest[:12]} were trained for {_described(known)}, data/splits asks for "
                f"{_described(asked)}; set data.target back, or train again with `dvc repro pretrain`"
            )
        transform = replace(self.pool.transform, mean=tuple(known["mean"]), std=tuple(known["std"]))
        return replace(self, pool=replace(self.pool, transform=transform))

    def normalised_without(self, gone: Iterable[str]) -> Material:
        """The same images, normalised by the statistics that the prepared images will have without these samples."""
        left = frozenset(self.image_set.ids).difference(gone)
        keep = np.array([one in left for one in self.image_set.ids], dtype=bool)
        meta = (self.image_set if keep.all() else with_statistics(self.image_set.select(keep))).meta
        transform = replace(self.pool.transform, mean=meta.mean, std=meta.std)
        return replace(self, pool=replace(self.pool, transform=transform))

    def check_blueprint(self, found: Checkpoint) -> None:
        """Refuse a model of another architecture or with other bits than the parameters say."""
        if found.blueprint != self.blueprint:
            raise ConfigError(
                f"weights {found.digest[:12]} are of another network than params.yaml describes: "
                f"{found.blueprint} instead of {self.blueprint}; run `dvc repro pretrain`"
            )

    def indices(self, partition: str, subset: str | None = None) -> Tensor:
        return self.split.indices(self.image_set, partition=partition, subset=subset).to(self.pool.device)

    def adjacent(self) -> Tensor | None:
        """Positions of the adjacent training images; None where the split makes no difference between retained ones."""
        found = self.indices("train", "adjacent")
        return found if len(found) else None

    def retained_digests(self, needs: Set[Need]) -> list[str]:
        """Digests of the retained training images, as a method with these needs tells them apart."""
        subsets: list[Subset] = ["retain", "adjacent"] if needs_adjacency(needs) else ["retain"]
        return [self.split.digest("train", subset) for subset in subsets]

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


def _check_split(workspace: Workspace, image_set: ImageSet, split: Split) -> None:
    manifest, target = split.manifest, workspace.params.data.target
    if manifest["target"] != target:
        raise ConfigError(
            f"data.target = {target!r}: data/splits was made for {manifest['target']!r}; run `dvc repro split`"
        )
    if manifest["image_set_digest"] != image_set.digest():
        raise ConfigError("data/splits was made from other images than data/prepared holds; run `dvc repro split`")


def _described(interface: dict[str, Any] | None) -> str:
    if not isinstance(interface, dict):
        return "a task it does not name"
    return f"{len(interface['classes'])} {interface['target']} classes"


def use_threads(count: int | None) -> None:
    """Set PyTorch's threads of this process; None leaves its choice."""
    if count is not None:
        torch.set_num_threads(count)
