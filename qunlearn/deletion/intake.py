"""From what a person names to what the ledger keeps: ids of samples, and keyed hashes of everything else.

A request is taken in as a whole or refused as a whole. What is no mistake but worth knowing is told: names given
twice, names that mean nothing here, samples that are erased already, a class that loses its last training sample.
"""

from __future__ import annotations

import calendar
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import date

from qunlearn.data.idlist import ID
from qunlearn.deletion.counted import counted
from qunlearn.deletion.identity import Key
from qunlearn.deletion.names import IntakeError
from qunlearn.deletion.records import Asked, Kind

MOST_UNKNOWN = 1_000_000
"""Names that mean nothing here; a file with more of them belongs to something else."""
LINES_TOLD = 10
LOOKED_UP: frozenset[Kind] = frozenset({"group", "class"})
"""Kinds of requests whose names are ids that were found in the project."""
DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")


@dataclass(frozen=True)
class KnownSamples:
    """What the project knows of samples.

    Args:
        ids: of the prepared images, and of all images that models were trained on.
        erased: ids that earlier requests erased.
        training: what the served model was trained on, or the next one would be; empty if nobody knows.
        classes: name of each class of the task, and the ids of its prepared images.
        named: the id of a sample that has another name, such as a path; None for a name that means nothing here.
    """

    ids: frozenset[str]
    erased: frozenset[str]
    training: frozenset[str]
    classes: Mapping[str, frozenset[str]]
    named: Callable[[str], str | None]


@dataclass(frozen=True)
class Intake:
    """What the ledger is to keep, and sentences for the person who asks."""

    asked: Asked
    told: tuple[str, ...]


@dataclass(frozen=True)
class _Resolved:
    """What the names mean; each sample and each hash once, in the order of the names."""

    samples: dict[str, None]
    unknown: dict[str, None]
    repeated: int


def make_asked(
    names: Iterable[tuple[int, str]],
    *,
    kind: Kind,
    known: KnownSamples,
    key: Key,
    subject: str | None = None,
    reference: str | None = None,
    due: date | None = None,
    today: date,
    classes: tuple[str, ...] = (),
) -> Intake:
    """What is asked for by naming samples.

    Args:
        names: number of the line (or of the argument) and name, see `read_names`; read once. For a group or a class
            ids, of images that need not be ingested.
        kind: how the samples were named.
        key: of the hashes that are kept of names that mean nothing here.
        subject: keyed hash of the subject whose samples these are.
        reference: keyed hash of what the request is called elsewhere.
        due: when it is to be completed; None is one calendar month from `today`.
        classes: names of the classes whose samples these are.

    Raises:
        IntakeError: names that cannot be ids, no name at all, all training samples, a date in the past.
    """
    deadline = _deadline(due, today)
    resolved = _resolve(names, kind, known, key)
    samples = resolved.samples.keys()
    training = known.training - known.erased
    if training and samples >= training:
        raise IntakeError(
            f"the request names all {len(training):,} training samples, and a model of nothing cannot be served; "
            "withdraw the served model instead of unlearning all of it, and train another on other data"
        )
    asked = Asked(
        kind=kind,
        samples=tuple(samples),
        unknown=tuple(resolved.unknown),
        subject=subject,
        reference=reference,
        due=deadline,
        classes=classes,
    )
    told = [*_about_names(resolved, known), *_about_classes(frozenset(samples), training, known.classes)]
    return Intake(asked, tuple(told))


def read_date(text: str) -> date:
    """A date written as YYYY-MM-DD.

    Raises:
        IntakeError: it is written in another way, or there is no such day.
    """
    try:
        if DATE.fullmatch(text):
            return date.fromisoformat(text)
    except ValueError:
        pass
    raise IntakeError("the due date must be a day of the calendar, written as YYYY-MM-DD, such as 2030-01-31")


def one_month_after(day: date) -> date:
    """The same day of the next month; its last day where the month is too short."""
    year, month = (day.year, day.month + 1) if day.month < 12 else (day.year + 1, 1)
    return date(year, month, min(day.day, calendar.monthrange(year, month)[1]))


def _deadline(due: date | None, today: date) -> date:
    if due is None:
        return one_month_after(today)
    if due < today:
        raise IntakeError(f"the due date {due} is in the past; today is {today} (UTC)")
    return due


def _resolve(names: Iterable[tuple[int, str]], kind: Kind, known: KnownSamples, key: Key) -> _Resolved:
    samples: dict[str, None] = {}
    unknown: dict[str, None] = {}
    malformed: list[int] = []
    total = wrong = 0
    for number, name in names:
        total += 1
        looked_up = kind in LOOKED_UP or name in known.ids or name in known.erased
        sample = name if looked_up else known.named(name)
        if sample is not None:
            samples[sample] = None
        elif ID.fullmatch(name):
            unknown[key.hashed("sample", name)] = None
            if len(unknown) > MOST_UNKNOWN:
                raise IntakeError(
                    f"more than {MOST_UNKNOWN:,} of the names are no known sample; is it the file of another project?"
                )
        else:
            wrong += 1
            malformed += [number] if wrong <= LINES_TOLD else []
    if wrong:
        raise IntakeError(_about_malformed(kind, malformed, wrong, total))
    if not total:
        raise IntakeError("the request names no sample")
    return _Resolved(samples, unknown, repeated=total - len(samples) - len(unknown))


def _about_malformed(kind: Kind, numbers: list[int], wrong: int, total: int) -> str:
    shown = ", ".join(map(str, numbers)) + (", ..." if wrong > len(numbers) else "")
    place = "line" if kind == "file" else "name number"
    return (
        f"{wrong:,} of the {total:,} names cannot name a sample ({place} {shown}): valid are ids as in "
        "data/prepared/ids.txt and, while the folder of your own images is there, a file's path below data.root or its "
        "sample_id. Nothing of this request was taken in"
    )


def _about_names(resolved: _Resolved, known: KnownSamples) -> Iterable[str]:
    samples, unknown = resolved.samples.keys(), len(resolved.unknown)
    erased = len(samples & known.erased)
    elsewhere = len(samples - known.ids - known.erased)
    if resolved.repeated:
        yield f"Named more than once, which changes nothing: {counted(resolved.repeated, 'repetition')}."
    if erased:
        end = " It will complete as `already erased`." if erased == len(samples) and not unknown else ""
        yield f"Erased by an earlier request: {counted(erased, 'sample')}.{end}"
    if elsewhere:
        yield (
            f"In your folder, but neither prepared nor in any readable list of training images: "
            f"{counted(elsewhere, 'image')}, not ingested or changed since. The id that each has now is recorded, so "
            "that it is never ingested; of a changed image request also the id that it had when models were trained."
        )
    if unknown:
        end = "" if samples else " Nothing that was named is known: it will complete as `not present`."
        yield (
            f"Not known here: {counted(unknown, 'name')}, kept only as keyed hashes. The beginning of an id names "
            f"nothing; give whole ids.{end}"
        )


def _about_classes(
    samples: frozenset[str], training: frozenset[str], classes: Mapping[str, frozenset[str]]
) -> Iterable[str]:
    for name, members in classes.items():
        trained, left = members & training, members - samples
        if members and not left:
            yield f"The class {name!r} keeps no sample."
        elif trained and trained <= samples:
            yield (
                f"Warning: the class {name!r} keeps no training sample, but {len(left):,} that are held out for "
                "evaluation; to erase all of it, request the class by its name."
            )
