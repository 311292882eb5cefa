"""What the pending requests mean for one model: which samples it must forget, which it keeps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from qunlearn.deletion.requests import Request, RequestError, read_request


@dataclass(frozen=True)
class Plan:
    """The decision about all pending requests, before anything is done.

    Args:
        accepted: requests to carry out together.
        rejected: (file, reason) of the others.
        forget: ids to unlearn, in the model's training order; empty when the model saw none of the requested samples.
        retain: the rest of the model's training ids, in the same order.
    """

    accepted: tuple[Request, ...]
    rejected: tuple[tuple[Path, str], ...]
    forget: tuple[str, ...]
    retain: tuple[str, ...]

    @property
    def ids(self) -> tuple[str, ...]:
        """Every accepted id once: what must be erased from the data, whether or not the model was trained on it."""
        return tuple(dict.fromkeys(sample for request in self.accepted for sample in request.ids))


def make_plan(
    files: Sequence[Path], *, trained_ids: Sequence[str], image_ids: Sequence[str], erased_ids: frozenset[str]
) -> Plan:
    """Decide about each request file, in order.

    Args:
        trained_ids: what the served model was trained on and has not forgotten.
        image_ids: the samples whose images are there.
        erased_ids: the samples that earlier requests erased; to name them again is no mistake.
    """
    trained, images = frozenset(trained_ids), frozenset(image_ids)
    known = images | trained | erased_ids
    accepted: list[Request] = []
    rejected: list[tuple[Path, str]] = []
    forget: set[str] = set()
    for path in files:
        try:
            request = read_request(path, known=known)
            asked = trained & frozenset(request.ids)
            _check_possible(asked, trained - forget, images)
        except RequestError as error:
            rejected.append((path, str(error)))
            continue
        accepted.append(request)
        forget |= asked
    return Plan(
        accepted=tuple(accepted),
        rejected=tuple(rejected),
        forget=tuple(sample for sample in trained_ids if sample in forget),
        retain=tuple(sample for sample in trained_ids if sample not in forget),
    )


def _check_possible(asked: frozenset[str], trained: frozenset[str], images: frozenset[str]) -> None:
    gone = asked - images
    if gone:
        raise RequestError(
            f"the served model was trained on {len(gone)} of these samples whose images are no longer in the image "
            "set; without its image a sample cannot be unlearned: retrain without them and release that model"
        )
    if asked and asked >= trained:
        raise RequestError(
            "the served model would keep no training data; withdraw the model instead of unlearning all of it"
        )
