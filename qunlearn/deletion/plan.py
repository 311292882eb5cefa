"""What a batch of requests means for the served model: what it must forget, what it keeps, what is erased anyway."""

from __future__ import annotations

from collections import ChainMap
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from qunlearn.deletion.ledger import Request
from qunlearn.deletion.states import Outcome


class RequestError(ValueError):
    """A request that cannot be carried out; the message names numbers and classes, never samples."""


class ImagesGoneError(ValueError):
    """Samples that the served model must forget have no image any more: no fault of the request, which must wait."""


@dataclass(frozen=True)
class Known:
    """What is known about samples when a batch is planned.

    Args:
        trained: ids that the served model was trained on and has not forgotten, in its training order.
        labels: id -> class index of the task, of every prepared image.
        class_names: by index.
        erased: ids that earlier requests erased.
        hashed: an id's keyed hash, as in `Asked.unknown`.
    """

    trained: tuple[str, ...]
    labels: Mapping[str, int]
    class_names: Sequence[str]
    erased: frozenset[str]
    hashed: Callable[[str], str]


@dataclass(frozen=True)
class Share:
    """What one request asks for, by what is to be done: numbers of samples.

    Args:
        asked: distinct samples that it names.
        trained: of these, samples to be unlearned.
        untrained: samples in the data that the served model was not trained on.
        erased: samples that were erased before, from model and data.
        unknown: names that are no sample of ours.
        found: ids that were no sample of ours yet when they were asked for, sorted; they count like any other.
    """

    asked: int
    trained: int
    untrained: int
    erased: int
    unknown: int
    found: tuple[str, ...] = ()

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> Share:
        """The inverse of `dataclasses.asdict` through JSON."""
        return cls(**{**content, "found": tuple(content["found"])})

    @property
    def outcome(self) -> Outcome | None:
        """How the request will have ended; None where that depends on how the samples are removed from the model."""
        if self.trained:
            return None
        if self.untrained:
            return Outcome.NOT_TRAINED
        return Outcome.ALREADY_ERASED if self.erased else Outcome.NOT_PRESENT


@dataclass(frozen=True)
class Plan:
    """The decision about a batch, before anything is done.

    Args:
        shares: request -> what it asks for, of those that are carried out.
        rejected: request -> reason, of the others.
        forget: ids to unlearn, in the model's training order.
        retain: the rest of the model's training ids, in the same order.
        erase: ids that leave the data, sorted: those to unlearn, and held-out ones.
    """

    shares: Mapping[str, Share]
    rejected: Mapping[str, str]
    forget: tuple[str, ...]
    retain: tuple[str, ...]
    erase: tuple[str, ...]


def make_plan(
    requests: Sequence[Request], known: Known, *, check: Callable[[frozenset[str]], None] = lambda _: None
) -> Plan:
    """Decide about each request.

    What one asks for can be impossible alone and possible beside others: a class may lose all its training images
    together with its others only. So those that were refused are looked at again as long as others are accepted, and
    the order matters only where not all of them are possible together.

    Args:
        check: raises RequestError if the data cannot lose these ids.

    Raises:
        ImagesGoneError: see there.
    """
    trained, erased = frozenset(known.trained), known.erased
    names = {known.hashed(one): one for one in trained | frozenset(known.labels) | erased}
    shares: dict[str, Share] = {}
    rejected: dict[str, str] = {}
    forget: set[str] = set()
    erase: set[str] = set()
    waiting, before = list(requests), len(requests) + 1
    while waiting and len(waiting) < before:
        before, rejected = len(waiting), {}
        for request in waiting:
            # A name that was unknown when it was asked for may have come into the data since, or be given twice.
            given = {known.hashed(one): one for one in request.asked.samples} if request.asked.unknown else {}
            known_now = ChainMap(given, names)
            found = {known_now[one] for one in request.asked.unknown if one in known_now}
            samples = found | set(request.asked.samples)
            # Samples that are listed as erased, and that model or data hold all the same, are treated like any other.
            ours = samples - (erased - trained - frozenset(known.labels))
            try:
                _check_possible(forget | (ours & trained), erase | ours, known)
                check(frozenset(erase | ours))
            except RequestError as error:
                rejected[request.id] = str(error)
                continue
            forget |= ours & trained
            erase |= ours
            shares[request.id] = Share(
                asked=len(samples) + len(request.asked.unknown) - len(found),
                trained=len(ours & trained),
                untrained=len(ours - trained),
                erased=len(samples - ours),
                unknown=len(request.asked.unknown) - len(found),
                found=tuple(sorted(found)),
            )
        waiting = [request for request in waiting if request.id in rejected]
    return Plan(
        shares={request.id: shares[request.id] for request in requests if request.id in shares},
        rejected=rejected,
        forget=tuple(one for one in known.trained if one in forget),
        retain=tuple(one for one in known.trained if one not in forget),
        erase=tuple(sorted(erase)),
    )


def emptied_classes(plan: Plan, known: Known) -> tuple[int, ...]:
    """Indices of the classes of which the model keeps no training sample."""
    # Of a retained sample the image may be gone from the prepared data.
    kept = {known.labels[one] for one in plan.retain if one in known.labels}
    return tuple(sorted({known.labels[one] for one in plan.forget} - kept))


def _check_possible(forget: set[str], erase: set[str], known: Known) -> None:
    """Refuse what would leave the model without data, or without a way to be measured.

    Raises:
        ImagesGoneError: see there.
    """
    if not forget:
        return
    if gone := forget - frozenset(known.labels):
        raise ImagesGoneError(
            f"the served model was trained on {len(gone)} of the samples asked for whose images are no longer in the "
            "prepared data; without its image a sample cannot be unlearned: bring them back with `dvc repro split`, or "
            "release a model that was trained without them"
        )
    kept = frozenset(known.trained) - forget
    if not kept:
        raise RequestError(
            "the served model would keep no training data; withdraw the model instead of unlearning all of it"
        )
    for label in {known.labels[one] for one in forget} - {known.labels[one] for one in kept if one in known.labels}:
        left = sum(1 for one, own in known.labels.items() if own == label and one not in erase)
        if left:
            raise RequestError(
                f"class {known.class_names[label]!r} would keep {left} images for validation and test, but none for "
                "training; ask for the whole class (--class), or for fewer of its samples"
            )
