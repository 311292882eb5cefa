"""Which samples a scenario forgets."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from qunlearn.config import (
    ClassScenario,
    GroupScenario,
    IdsScenario,
    RandomScenario,
    Scenario,
    SubclassScenario,
)
from qunlearn.data.draw import hash_order
from qunlearn.data.idlist import read_ids
from qunlearn.data.imageset import Integers

Mask = NDArray[np.bool_]
Subset = Literal["forget", "retain", "adjacent", "remote"]


@dataclass(frozen=True, eq=False)
class Population:
    """The N samples of a split that are not erased, and what a scenario may ask of them.

    Args:
        ids: N ids.
        labels: of the task, int64 [N]; `class_names` are their names.
        fine: fine labels, int64 [N]; `fine_names` are their names.
        subjects: int64 [N] or None.
        training: bool [N]: in the training partition.
    """

    ids: tuple[str, ...]
    labels: Integers
    class_names: tuple[str, ...]
    fine: Integers
    fine_names: tuple[str, ...]
    subjects: Integers | None
    training: Mask


def choose_subsets(population: Population, scenario: Scenario, *, seed: int) -> tuple[NDArray[np.object_], list[int]]:
    """The subset of each sample (str [N]), and the classes of the task that are forgotten whole.

    Class, subclass and group scenarios name samples of all partitions by the same rule; otherwise only training
    images are forgotten.

    Raises:
        ValueError: the scenario asks for what is not there, or leaves nothing, or no image of some class, to train on.
    """
    whole: list[int] = []
    if isinstance(scenario, RandomScenario):
        forget = _random(population, scenario, seed=seed)
    elif isinstance(scenario, ClassScenario):
        whole = resolve_classes(scenario.classes, population.class_names)
        forget = np.isin(population.labels, whole)
    elif isinstance(scenario, SubclassScenario):
        forget = np.isin(population.fine, resolve_classes(scenario.classes, population.fine_names))
    elif isinstance(scenario, GroupScenario):
        forget = _group(population, scenario)
    else:
        forget = _listed(population, scenario)
    _check(population, forget, whole=whole, kind=scenario.kind)
    subsets = np.where(forget, "forget", "retain").astype(object)
    if isinstance(scenario, SubclassScenario):
        near = np.isin(population.labels, np.unique(population.labels[forget]))
        subsets[~forget] = np.where(near[~forget], "adjacent", "remote")
        for name in ("adjacent", "remote"):
            if not ((subsets == name) & population.training).any():
                raise ValueError(
                    f"split.scenario.classes = {scenario.classes}: leaves no {name} training image; forget fewer "
                    "classes, from fewer superclasses"
                )
    return subsets, whole


def resolve_classes(wanted: Sequence[int | str], names: tuple[str, ...]) -> list[int]:
    """Sorted indices of classes given by index or name.

    Raises:
        ValueError: an index or name that there is not.
    """
    found = set()
    for one in wanted:
        if isinstance(one, int):
            if not 0 <= one < len(names):
                raise ValueError(f"split.scenario.classes = {one}: the classes are 0 to {len(names) - 1}")
            found.add(one)
        elif one in names:
            found.add(names.index(one))
        else:
            raise ValueError(f"split.scenario.classes = {one!r}: no such class; there are {', '.join(names)}")
    return sorted(found)


def _random(population: Population, scenario: RandomScenario, *, seed: int) -> Mask:
    positions = np.flatnonzero(population.training)
    if scenario.count is not None:
        key, count = f"count = {scenario.count}", scenario.count
    else:
        key, count = f"fraction = {scenario.fraction}", round((scenario.fraction or 0.0) * len(positions))
    if not 0 < count < len(positions):
        raise ValueError(
            f"split.scenario.{key}: forgets {count} of {len(positions)} training images; "
            f"it must be from 1 to {len(positions) - 1}"
        )
    order = hash_order([population.ids[place] for place in positions], seed=seed, purpose="forget")
    forget = np.zeros(len(population.ids), dtype=bool)
    forget[positions[order[:count]]] = True
    return forget


def _group(population: Population, scenario: GroupScenario) -> Mask:
    if population.subjects is None:
        raise ValueError(
            "split.scenario.kind = group: the image set has no subjects; use the source image_folder with the column "
            "`subject` in data.metadata, or another scenario"
        )
    known = np.unique(population.subjects)
    unknown = sorted(set(scenario.subjects) - set(known.tolist()))
    if unknown:
        shown = ", ".join(map(str, known[:10])) + (", ..." if len(known) > 10 else "")
        raise ValueError(f"split.scenario.subjects = {unknown}: no image shows them; there are {len(known)}: {shown}")
    return np.isin(population.subjects, scenario.subjects)


def _listed(population: Population, scenario: IdsScenario) -> Mask:
    wanted = set(read_ids(scenario.file))
    training = {one for one, kept in zip(population.ids, population.training, strict=True) if kept}
    wrong = sorted(wanted - training)
    if wrong:
        held_out = len(set(wrong) & set(population.ids))
        raise ValueError(
            f"{scenario.file}: {len(wrong)} of {len(wanted)} ids name no training image ({held_out} of them are in "
            f"validation or test, the others unknown or erased), the first: {', '.join(wrong[:3])}"
        )
    return np.array([one in wanted for one in population.ids], dtype=bool)


def _check(population: Population, forget: Mask, *, whole: list[int], kind: str) -> None:
    """There must be something to forget, something to retain, and every other class must remain."""
    forgotten, retained = forget & population.training, ~forget & population.training
    key = f"split.scenario.kind = {kind}"
    if not forgotten.any():
        raise ValueError(f"{key}: no training image is forgotten; name samples that are in training")
    if not retained.any():
        raise ValueError(f"{key}: all {forgotten.sum()} training images are forgotten; forget fewer")
    lost = set(population.labels[forgotten].tolist()) - set(population.labels[retained].tolist()) - set(whole)
    if lost:
        name = population.class_names[min(lost)]
        raise ValueError(
            f"{key}: no training image of class {name!r} is retained; forget fewer images, or "
            "forget the whole class with kind: class"
        )
