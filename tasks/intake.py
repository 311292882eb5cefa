"""From what a person names to a request in the ledger: looked up in this project, written as one transaction."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path

from qunlearn.config import load
from qunlearn.data.imageset import ImageSet
from qunlearn.deletion.identity import HASHED, Key
from qunlearn.deletion.intake import make_asked
from qunlearn.deletion.ledger import Ledger
from qunlearn.deletion.names import IntakeError, read_names
from qunlearn.deletion.records import Kind, Request
from tasks.known_samples import known_samples, prepared_images, samples_of_class
from tasks.own_images import OwnImages, samples_of_subject
from tasks.tracking.outages import outages_told


@dataclass(frozen=True)
class Submission:
    """What is asked for, named in exactly one way; people only as keyed hashes.

    Args:
        samples: ids; for a folder of the user's own images also paths below data.root, or `sample_id`s.
        subject: keyed hash of a subject, for all its samples.
        class_name: a class or superclass, for all its samples, held-out ones too.
        file: names as `samples` has them, see `qunlearn.deletion.names`.
        reference: keyed hash of what the request is called elsewhere.
        due: when it is to be completed; None is one calendar month from now.

    Raises:
        IntakeError: not exactly one way, or a hash that is none.
    """

    samples: tuple[str, ...] = ()
    subject: str | None = None
    class_name: str | None = None
    file: Path | None = None
    reference: str | None = None
    due: date | None = None

    def __post_init__(self) -> None:
        ways = bool(self.samples) + sum(way is not None for way in (self.subject, self.class_name, self.file))
        if ways != 1:
            raise IntakeError(
                f"a request names its samples in exactly one way, not {ways}: by samples (--sample), by a subject "
                "(--group), by a class (--class), or by a file (--file)"
            )
        for hashed in (self.subject, self.reference):
            if hashed is not None and not HASHED.fullmatch(hashed):
                raise IntakeError(
                    "subject and reference must be keyed hashes of 64 hexadecimal digits; `qunlearn request hash` "
                    "prints them"
                )


@dataclass(frozen=True)
class Submitted:
    """The request as the ledger has it, and sentences for the person who asked."""

    request: Request
    told: tuple[str, ...]


def submit(
    params_file: Path | str = "params.yaml",
    *,
    samples: Iterable[str] = (),
    subject: str | None = None,
    class_name: str | None = None,
    file: Path | str | None = None,
    reference: str | None = None,
    due: date | None = None,
) -> Submitted:
    """Request the erasure of samples, as a person says it: `subject` and `reference` in clear, and kept nowhere so.

    Args:
        params_file: its folder is the project. The others: see `Submission`.

    Raises:
        ValueError: the request is refused as a whole, and nothing is written. No message repeats what was named.
    """
    load(params_file)  # no key is made where there is no project
    key = Key.load(Path(params_file).resolve().parent)
    asked = Submission(
        samples=(samples,) if isinstance(samples, str) else tuple(samples),
        subject=None if subject is None else key.hashed("subject", subject),
        class_name=class_name,
        file=None if file is None else Path(file),
        reference=None if reference is None else key.hashed("reference", reference),
        due=due,
    )
    return take_in(asked, params_file=params_file)


@outages_told()
def take_in(submission: Submission, *, params_file: Path | str) -> Submitted:
    """Look up what is named, and add the request to the ledger; ValueError as for `submit`."""
    path = Path(params_file).resolve()
    params, root = load(path), path.parent
    key = Key.load(root)
    image_set = prepared_images(root / "data" / "prepared")
    own = OwnImages.of(params.data, project=root)
    known = known_samples(root, params, image_set=image_set, own=own)
    kind, names = _named(submission, image_set, own, key)
    intake = make_asked(
        names,
        kind=kind,
        known=known,
        key=key,
        subject=submission.subject,
        reference=submission.reference,
        due=submission.due,
        today=datetime.now(UTC).date(),
        classes=() if submission.class_name is None else (submission.class_name,),
    )
    return Submitted(Ledger.open(root=root).add(intake.asked), intake.told)


def _named(
    submission: Submission, image_set: ImageSet, own: OwnImages | None, key: Key
) -> tuple[Kind, Iterable[tuple[int, str]]]:
    if submission.file is not None:
        return "file", read_names(submission.file)
    if submission.class_name is not None:
        return "class", enumerate(samples_of_class(submission.class_name, image_set), start=1)
    if submission.subject is not None:
        found = samples_of_subject(submission.subject, own=own, image_set=image_set, key=key)
        return "group", enumerate(found, start=1)
    return "sample", enumerate(submission.samples, start=1)
