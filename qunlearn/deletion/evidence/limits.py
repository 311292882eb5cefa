"""What evidence does not prove, and where copies may be that no purge reaches."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from qunlearn.deletion.evidence.document import Purge
from qunlearn.deletion.evidence.model import Gate, Method
from qunlearn.deletion.evidence.request import Request

OUTSIDE_CUSTODY = (
    "Raw archives: the files that the samples were imported from",
    "Backups of this computer, of its stores and of its databases",
    "The git history, which keeps the opaque ids of erased samples and whatever else was ever committed",
    "Devices, exports and downloads that hold a model released earlier",
)
"""What no purge of this program reaches, wherever it runs."""

WITH_ANY = (
    "It records what this program did and found. Whoever controls the computer, the ledger and the signing key could "
    "have had it record something else.",
    "Times are those of the computer's clock; no independent service confirmed them.",
    "It says nothing about copies outside the stores that were searched; a list of its own names those that may exist.",
    "It says nothing about samples that show the same person but were not named in the request.",
)
WITH_A_CHANGE = (
    "The gates measure what their texts say, on a limited number of samples. That the served model meets them does "
    "not mean that nothing about the erased samples can be inferred from it; another attack may find more.",
    "Intervals tell how much the choice of samples matters. They do not tell how another seed would have come out.",
    "The weights' digest tells which file was served, not what a caller of the model really received.",
)
WITH_UNLEARNING = (
    "Unlearning approximates training without the samples; the weights are not those that such a training gives.",
    "The mean and the standard deviation by which images are normalised are those of the model that unlearned: of the "
    "images that it was trained on, the erased ones among them.",
)
WITH_RETRAINING = (
    "The model was trained anew without the samples; what similar samples that were kept tell about them, it may know.",
)
WITH_A_PURGE = (
    "The search shows that no store lists or returns the removed objects. Whether a disk, a file system's snapshot or "
    "a storage service keeps blocks of deleted files, it does not show.",
    "A copy in another encoding, scaled, converted or encrypted is not recognised by the search.",
)
WITH_UNKNOWN_NAMES = (
    "Names that belong to no sample were looked up as they were written; the same samples under other names were not "
    "looked for.",
)


def limits_of(request: Request, *, method: Method | None, gates: Sequence[Gate], purge: Purge | None) -> Iterator[str]:
    """The limits that apply to one document, from the general to the particular."""
    yield from WITH_ANY
    if method is not None:
        yield from WITH_A_CHANGE
        yield from WITH_UNLEARNING if method.parents else WITH_RETRAINING
        if method.sequential > 1:
            yield (
                f"The model is the result of {method.sequential} unlearnings one after the other; their errors add up."
            )
    if purge is not None:
        yield from WITH_A_PURGE
        if aside := sum(one.action == "quarantine" for one in purge.objects):
            yield f"Quarantined objects were moved aside and still exist; there are {aside}."
    if request.counts.unknown:
        yield from WITH_UNKNOWN_NAMES
    for gate in gates:
        if not gate.informative:
            yield f"Gate {gate.name!r}: the old model met it too, so it does not tell whether anything was forgotten."
        if gate.weak:
            yield f"Gate {gate.name!r}: it judges so few samples that its result is a hint at most."
        if not gate.passed:
            yield f"Gate {gate.name!r}: the served model does not meet it; it was released all the same, see its text."
