"""Which models must go: all that were trained on erased samples, and all that were made from such a model.

One is excepted, the served model: it was made from such a model, too, but has unlearned the samples. What cannot be
told counts as trained on them; a benchmark's model can be made again, a trace that was left cannot be taken back.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from qunlearn.deletion.purge_errors import PurgeError

ModelPolicy = Literal["purge", "quarantine"]
"""What happens to models of the benchmark: their bytes are removed, or moved to where nothing uses them."""


@dataclass(frozen=True)
class StoredModel:
    """A recorded model.

    Args:
        id: of the record.
        name: for people.
        weights: digest of its weights, `sha256:...`; None if they were never complete.
        place: where it is, in words.
        erased: how many erased samples it was trained on; None if its list of training images cannot be read.
        parents: ids of the models it was made from.
        served: it is the champion.
        registered: it is a version of the served model's name, served once or meant to be.
        benchmark: a stage of the pipeline made it as an original, a reference or an unlearned model.
        kept: some of its bytes are there.
        marked: its record says that they were erased.
    """

    id: str
    name: str
    weights: str | None
    place: str
    erased: int | None
    parents: tuple[str, ...] = ()
    served: bool = False
    registered: bool = False
    benchmark: bool = False
    kept: bool = True
    marked: bool = False


def check_served(models: Sequence[StoredModel]) -> None:
    """Refuse to purge around a served model that has not unlearned the samples: afterwards it never could.

    Raises:
        PurgeError: it was trained on some, that cannot be told, or versions are registered and none of them is served.
    """
    served = next((model for model in models if model.served), None)
    if served is None:
        if any(model.registered and not model.marked for model in models):
            raise PurgeError(
                "the served model has versions, but none of them is the champion; set the alias `champion` to the one "
                "that is served, so that it is not taken for a model of the past"
            )
        return
    if served.erased is None:
        raise PurgeError(
            f"{served.place}: it is served, but the list of its training images is gone or damaged; restore it from "
            "a backup, or release another model, before anything is purged"
        )
    if served.erased:
        raise PurgeError(
            f"{served.place}: it is served, and was trained on {served.erased} of the erased samples; run the deletion "
            "flow first, which needs their images to unlearn them"
        )


def reasons(models: Sequence[StoredModel]) -> dict[str, str]:
    """Id of each model that erased samples went into -> why; the served one is among them if its parents are."""
    known = {model.id: model for model in models}
    found: dict[str, str] = {}
    children: dict[str, list[StoredModel]] = {}
    for model in models:
        for parent in model.parents:
            children.setdefault(parent, []).append(model)
        if (why := _own_reason(model, known)) is not None:
            found[model.id] = why
    # From each of them to all that descend from it.
    waiting = list(found)
    while waiting:
        parent = waiting.pop()
        for child in children.get(parent, ()):
            if child.id not in found:
                found[child.id] = f"was made from {known[parent].name}, which {_short(found[parent])}"
                waiting.append(child.id)
    return found


def judge(model: StoredModel, why: Mapping[str, str], *, policy: ModelPolicy) -> Literal["remove", "quarantine"] | None:
    """What happens to the bytes of a model; None where nothing is to be done.

    Args:
        why: see `reasons`.
    """
    if model.served or model.id not in why:
        return None
    if not model.kept and (model.marked or model.erased is None):
        return None  # erased before, by us or by somebody else
    if policy == "quarantine" and model.benchmark and not model.registered and model.kept and model.weights:
        return "quarantine"
    return "remove"


def _own_reason(model: StoredModel, known: Mapping[str, StoredModel]) -> str | None:
    if model.erased:
        return f"was trained on {model.erased} erased sample{'s' if model.erased > 1 else ''}"
    if model.erased is None:
        return "has no readable list of its training images, and may have been trained on erased samples"
    if any(parent not in known for parent in model.parents):
        return "was made from a model that is no longer recorded, and that may have been trained on erased samples"
    return None


def _short(why: str) -> str:
    """A reason for use in another one: only its first link."""
    return why.partition(", which ")[0]
