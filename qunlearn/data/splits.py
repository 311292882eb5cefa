"""The split: which sample is for training, validation or test, and which is to be forgotten.

How a sample's partition is chosen: a number in [0, 1) that hashes `split.seed` and the sample's id is compared with
the share of the partition. So the choice depends on nothing but seed and id: removing samples from the image set, or
erasing them, moves no other sample. That matters after a deletion, where a sample that moved from training to
validation would break the gate. The price is that shares within a class are met on average, with a binomial deviation
(18 +- 4 of 180 images at 10 %), where shuffling each class would meet them exactly but move others. The number of
images that the scenario `random` forgets is exact: the first ones of the training images in hash order. One choice
looks at other samples than the one it is about: which retained ones are nearest, see `qunlearn.data.adjacency`.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray

from qunlearn.config import SplitConfig
from qunlearn.data.adjacency import Mask
from qunlearn.data.atomic import replaced_folder
from qunlearn.data.draw import hash_uniform
from qunlearn.data.imageset import ImageSet, Target
from qunlearn.data.scenarios import Population, Subset, choose_subsets

Partition = Literal["train", "validation", "test"]
PARTITIONS: tuple[Partition, ...] = ("train", "validation", "test")
SUBSETS: tuple[Subset, ...] = ("forget", "retain", "adjacent", "remote")
RETAINED = ("retain", "adjacent", "remote")
FORMAT = 1
TABLE, MANIFEST = FILES = ("split.csv", "manifest.json")


class GateError(ValueError):
    """The samples a model was trained on do not fit the split it is unlearned from or evaluated on."""


@dataclass(frozen=True, eq=False)
class Split:
    """A table with one row a sample, in the order of the image set, and what is known about it.

    Args:
        id_column: ids, str [N].
        partition_column: `train`, `validation` or `test`, str [N].
        subset_column: `forget` or `retain`; with adjacency `forget`, `adjacent` or `remote`. str [N].
        manifest: settings, counts and digests; see `make_split`.
    """

    id_column: NDArray[np.object_]
    partition_column: NDArray[np.object_]
    subset_column: NDArray[np.object_]
    manifest: dict[str, Any]

    def ids(self, partition: Partition, subset: Subset | None = None) -> tuple[str, ...]:
        """Ids of a partition or of a subset of it, in the order of the image set.

        `retain` includes adjacent and remote.

        Raises:
            ValueError: no such partition or subset.
        """
        return tuple(self.id_column[self._chosen(partition, subset)])

    def digest(self, partition: Partition, subset: Subset | None = None) -> str:
        """sha256 of the sorted ids, one a line; an id holds a digest of its sample's content."""
        return hashlib.sha256("".join(f"{one}\n" for one in sorted(self.ids(partition, subset))).encode()).hexdigest()

    def indices(self, image_set: ImageSet, *, partition: Partition, subset: Subset | None = None) -> torch.Tensor:
        """Ascending positions in `image_set`, int64 [n], of the samples that `ids` gives.

        Raises:
            ValueError: a sample is not in the image set.
        """
        return torch.from_numpy(np.sort(image_set.index_of(self.ids(partition, subset))))

    def _chosen(self, partition: Partition, subset: Subset | None) -> Mask:
        if partition not in PARTITIONS or subset not in (None, *SUBSETS):
            raise ValueError(f"{partition!r}, {subset!r}: partitions are {PARTITIONS}, subsets {SUBSETS} or None")
        chosen: Mask = self.partition_column == partition
        if subset is not None:
            chosen &= np.isin(self.subset_column.astype(str), RETAINED if subset == "retain" else (subset,))
        return chosen


def make_split(
    image_set: ImageSet, config: SplitConfig, *, target: Target, erased: frozenset[str], erased_digest: str
) -> Split:
    """Split what is not `erased`. The result depends on the samples and `config` alone.

    The manifest holds `format`, `scenario` (its kind), `settings` (the rest of it), `seed`, `validation`, `test`,
    `target`, `image_set_digest`, `erased_sha256` (= `erased_digest`, of the file that `erased` was read from),
    `classes` (names of the task's classes), `forgotten_classes` (indices of those forgotten whole), `adjacency`
    (`rule`, `kind` and `units`, with the `distances` of what the rule `nearest` found; None where no retained sample is
    adjacent or remote), and for each partition and each subset of it `counts` and `digests`, under keys such as `train`
    and `train/forget`.

    Raises:
        ValueError: an empty partition, a class without training images, or an impossible scenario.
    """
    keep = np.array([one not in erased for one in image_set.ids], dtype=bool)
    ids = tuple(one for one, kept in zip(image_set.ids, keep, strict=True) if kept)
    official_test = image_set.official_test_mask()[keep] if image_set.meta.official_test else None
    partitions = _partitions(ids, config, official_test=official_test)
    population = Population(
        ids=ids,
        labels=image_set.targets(target)[keep],
        class_names=image_set.class_names(target),
        fine=image_set.labels[keep],
        fine_names=image_set.class_names("fine"),
        coarse=None if image_set.coarse is None else image_set.coarse[keep],
        subjects=None if image_set.subjects is None else image_set.subjects[keep],
        training=partitions == "train",
        images=image_set.images,
        positions=np.flatnonzero(keep).astype(np.int64),
    )
    _check_partitions(population, partitions, config)
    chosen = choose_subsets(population, config.scenario, seed=config.seed)
    split = Split(np.array(ids, dtype=object), partitions, chosen.subsets, manifest={})
    split.manifest.update(
        format=FORMAT,
        scenario=config.scenario.kind,
        # Where a list of ids lies differs between machines; which ids it held is in the digests.
        settings=config.scenario.model_dump(mode="json", exclude={"file"}),
        seed=config.seed,
        validation=config.validation,
        test=None if image_set.meta.official_test else config.test,
        target=target,
        image_set_digest=image_set.digest(),
        erased_sha256=erased_digest,
        classes=list(population.class_names),
        forgotten_classes=chosen.whole_classes,
        adjacency=None if chosen.adjacency is None else chosen.adjacency.record(),
        **_contents(split),
    )
    return split


def save_split(split: Split, folder: Path) -> None:
    """Write `split.csv` and `manifest.json` as `folder`, in one step: an error leaves an earlier folder as it was."""
    with replaced_folder(folder) as fresh:
        # No column can hold a comma or a quote, so a line needs no escaping.
        rows = zip(split.id_column, split.partition_column, split.subset_column, strict=True)
        lines = [",".join(row) for row in (("id", "partition", "subset"), *rows)]
        (fresh / TABLE).write_text("".join(f"{line}\n" for line in lines), "utf-8")
        (fresh / MANIFEST).write_text(json.dumps(split.manifest, indent=1, ensure_ascii=False) + "\n", "utf-8")


def load_split(folder: Path) -> Split:
    """Read a split and check it against the counts and digests of its manifest.

    Raises:
        ValueError: a file is missing, truncated or altered; the message names it.
    """
    table, manifest_file = Path(folder) / TABLE, Path(folder) / MANIFEST
    try:
        manifest = json.loads(_text(manifest_file))
    except json.JSONDecodeError as error:
        raise ValueError(f"{manifest_file}: not valid JSON ({error}); run the split stage again") from None
    header, *rows = [line.split(",") for line in _text(table).splitlines()] or [[]]
    if not isinstance(manifest, dict) or manifest.get("format") != FORMAT:
        raise ValueError(f"{manifest_file}: not a manifest of format {FORMAT}; run the split stage again")
    if header != ["id", "partition", "subset"]:
        raise ValueError(f"{table}: must begin with id,partition,subset, not {header}; run the split stage again")
    for number, row in enumerate(rows, start=2):
        if len(row) != 3 or row[1] not in PARTITIONS or row[2] not in SUBSETS:
            raise ValueError(f"{table}, line {number}: {row} is not id, partition, subset; run the split stage again")
    columns = np.array(rows, dtype=object).reshape(-1, 3)
    split = Split(columns[:, 0], columns[:, 1], columns[:, 2], manifest)
    recorded = {key: manifest.get(key) for key in ("counts", "digests")}
    if len(set(columns[:, 0])) != len(rows) or recorded != _contents(split):
        raise ValueError(f"{table}: does not have the counts and digests of manifest.json; run the split stage again")
    return split


def check_gate(
    *, trained_ids: Iterable[str], forget_ids: Iterable[str], retain_ids: Iterable[str], held_out_ids: Iterable[str]
) -> None:
    """Stop unless the model was trained on exactly forget + retain, and nothing held out is among them.

    Without it a model trained on another split passes for one that has seen what it is to forget.

    Args:
        trained_ids: what the parent model was trained on.
        forget_ids: what is to be forgotten.
        retain_ids: what is to be retained.
        held_out_ids: validation and test.

    Raises:
        GateError: with each violated condition, how many samples it concerns, and the first of them.
    """
    trained, forget, retain, held_out = map(frozenset, (trained_ids, forget_ids, retain_ids, held_out_ids))
    violations = {
        "to forget and to retain at once": forget & retain,
        "in the split's training part, but the model was not trained on them": (forget | retain) - trained,
        "trained on, but neither to forget nor to retain": trained - (forget | retain),
        "to forget, but held out for validation or test": forget & held_out,
        "to retain, but held out for validation or test": retain & held_out,
        "trained on, but held out for validation or test": trained & held_out,
    }
    lines = [f"{len(ids)} {what}, such as {min(ids)}" for what, ids in violations.items() if ids]
    if lines:
        raise GateError(
            "the model does not belong to this split; of the samples: "
            + "; ".join(lines)
            + ". Use the split that the model was "
            "trained on, or train the model again"
        )


def _partitions(ids: tuple[str, ...], config: SplitConfig, *, official_test: Mask | None) -> NDArray[np.object_]:
    """Partition of each sample, str [N], from its own id; `official_test` (bool [N]) decides where there is one."""
    test = official_test
    if test is None:
        test = hash_uniform(ids, seed=config.seed, purpose="test") < config.test
    validation = hash_uniform(ids, seed=config.seed, purpose="validation") < config.validation
    return np.where(test, "test", np.where(validation, "validation", "train")).astype(object)


def _check_partitions(population: Population, partitions: NDArray[np.object_], config: SplitConfig) -> None:
    if not population.training.any():
        raise ValueError(f"split: no training image among {len(partitions)}; ingest more images, or erase fewer")
    for name, share in (("validation", config.validation), ("test", config.test)):
        if not (partitions == name).any():
            raise ValueError(
                f"split.{name} = {share}: no {name} image among {len(partitions)}; raise it, or ingest more images"
            )
    for label in np.unique(population.labels):
        if not population.training[population.labels == label].any():
            count = int((population.labels == label).sum())
            raise ValueError(
                f"split: none of the {count} images of class {population.class_names[label]!r} is for training; "
                "lower split.validation and split.test, or ingest more images of it"
            )


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        raise ValueError(f"{path}: not a text file; run the split stage again") from None
    except OSError as error:
        raise ValueError(f"{path}: {error.strerror}; run the split stage again") from None


def _contents(split: Split) -> dict[str, Any]:
    """Counts and digests of all partitions and subsets."""
    present = set(split.subset_column)
    names: tuple[Subset, ...] = SUBSETS if present & {"adjacent", "remote"} else ("forget", "retain")
    keys: list[tuple[Partition, Subset | None]] = [(one, name) for one in PARTITIONS for name in (None, *names)]
    labelled = {f"{one}/{name}" if name else one: (one, name) for one, name in keys}
    return {
        "counts": {key: len(split.ids(*part)) for key, part in labelled.items()},
        "digests": {key: split.digest(*part) for key, part in labelled.items()},
    }
