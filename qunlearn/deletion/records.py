"""What the ledger gives and takes: requests, batches, events; and how they are written into rows."""

from __future__ import annotations

import hashlib
import json
import re
import secrets
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from datetime import UTC, date, datetime
from enum import StrEnum
from typing import Any, Literal, get_args

from qunlearn.data.idlist import ID
from qunlearn.deletion.chain import canonical
from qunlearn.deletion.states import Outcome, State

Kind = Literal["sample", "group", "class", "file"]
KEYED_HASH = re.compile(r"[0-9a-f]{64}")
REQUEST_ID = re.compile(r"r-[0-9a-f]{16}")
STANDING = ("state", "outcome", "reason", "batch", "attempts")
"""What may change of a request."""
LONGEST_LINE = 500
"""Characters of a reason, or of a class's name."""


class LedgerError(ValueError):
    """The ledger refuses, or cannot be used. The message repeats nothing that was stored or that a person wrote."""


class UnavailableError(LedgerError):
    """The database cannot be reached, read or written now; the same call may succeed later."""


class BusyError(LedgerError):
    """Another worker that is alive has an open batch."""


class LostClaimError(LedgerError):
    """The batch was taken over by another worker; whoever gets this must stop and change nothing more."""


@dataclass(frozen=True)
class Asked:
    """What a request asks for.

    Args:
        kind: how it was asked.
        samples: ids of known samples, as in the image set.
        unknown: keyed hashes of names that are no known sample.
        subject: keyed hash of the person, for a group.
        reference: keyed hash of the requester's own reference.
        due: until when it must be done.
        classes: names of the classes, for a class.
    """

    kind: Kind
    samples: tuple[str, ...]
    unknown: tuple[str, ...]
    subject: str | None
    reference: str | None
    due: date
    classes: tuple[str, ...] = ()

    def as_json(self) -> str:
        """Canonical JSON.

        Raises:
            LedgerError: a field cannot be stored: above all, a person is only ever named by a keyed hash.
        """
        if self.kind not in get_args(Kind):
            raise LedgerError(f"the kind of a request must be one of {', '.join(get_args(Kind))}")
        if type(self.due) is not date:
            raise LedgerError("the due date of a request must be a date without a time of day")
        if not all(ID.fullmatch(sample) for sample in self.samples):
            raise LedgerError("a sample of the request is no sample id; store names that are not as keyed hashes")
        hashes = [text for text in (*self.unknown, self.subject, self.reference) if text is not None]
        if not all(KEYED_HASH.fullmatch(text) for text in hashes):
            raise LedgerError("unknown samples, subject and reference must be keyed hashes: 64 hexadecimal digits")
        for name in self.classes:
            check_line(name, "a class's name")
        return canonical({**asdict(self), "due": self.due.isoformat()})

    @classmethod
    def from_json(cls, text: str) -> Asked:
        """The inverse of `as_json`."""
        content = json.loads(text)
        lists = {name: tuple(content[name]) for name in ("samples", "unknown", "classes")}
        return cls(**{**content, **lists, "due": date.fromisoformat(content["due"])})


@dataclass(frozen=True)
class Request:
    """A request for erasure.

    Args:
        id: `r-` and 16 hexadecimal digits.
        outcome: of a completed request.
        reason: why it is in its present state, where one was given.
        batch: the batch that carries it out, or did.
        attempts: how often it was given back.
        received_at: UTC.
        changed_at: UTC, of the last change of state.
    """

    id: str
    asked: Asked
    state: State
    outcome: Outcome | None
    reason: str | None
    batch: str | None
    attempts: int
    received_at: datetime
    changed_at: datetime

    @classmethod
    def from_row(cls, row: Mapping[str, Any]) -> Request:
        """A row of the table of requests as it should be."""
        values = {field.name: row[field.name] for field in fields(cls)}
        values |= {name: datetime.fromisoformat(values[name]) for name in ("received_at", "changed_at")}
        values |= {"asked": Asked.from_json(values["asked"]), "state": State(values["state"])}
        return cls(**{**values, "outcome": None if values["outcome"] is None else Outcome(values["outcome"])})

    def standing(self, **changed: Any) -> dict[str, Any]:
        """What an event says of a request that it changes: all that may ever change, as it is after the event."""
        now = {name: getattr(self, name) for name in STANDING} | changed
        # Plain text for the database's drivers, which have their own ideas of enumerations.
        return {name: str(value) if isinstance(value, StrEnum) else value for name, value in now.items()}


@dataclass(frozen=True)
class Batch:
    """The requests that one run carries out together, as one worker holds them.

    Args:
        id: `b-` and 16 hexadecimal digits.
        token: of this claim; whoever takes the batch over gets another one. It keeps a worker that was thought gone
            from interfering; it is no secret.
        worker: who claimed it, as text.
        requests: in the order of their arrival, also those that are completed or rejected already.
        state: see `states.batch_state`.
        facts: what has been established so far, JSON.
    """

    id: str
    token: str
    worker: str
    requests: tuple[Request, ...]
    state: State
    facts: dict[str, Any]


@dataclass(frozen=True)
class Event:
    """One event of the ledger.

    Args:
        number: 1, 2, 3, ...
        at: UTC; never before the event before it.
        kind: the state that was reached, `taken over`, `given back`, `facts`, or the kind of a note.
        batch: the batch it happened in.
        requests: request id -> its state, outcome, reason, batch and attempts after this event; only those it changed.
        payload: what else is to be said.
        clock: `behind` where the clock showed a time before the last event's, which was written then; else None.
        body: the canonical JSON that was hashed, all of the above.
        previous: hash of the event before it.
        hash: of `previous` and `body`.
    """

    number: int
    at: datetime
    kind: str
    batch: str | None
    requests: dict[str, dict[str, Any]]
    payload: dict[str, Any]
    clock: str | None
    body: str
    previous: str
    hash: str

    @classmethod
    def from_row(cls, body: str, *, previous: str, digest: str) -> Event:
        """A row of the table of events as it should be."""
        content = json.loads(body)
        said = {name: content[name] for name in ("number", "kind", "batch", "requests", "payload")}
        at = datetime.fromisoformat(content["at"])
        return cls(**said, at=at, clock=content.get("clock"), body=body, previous=previous, hash=digest)


def new_id(prefix: str) -> str:
    """A random id: the prefix, a hyphen, 16 hexadecimal digits."""
    return f"{prefix}-{secrets.token_hex(8)}"


def asked_digest(asked: str) -> str:
    """sha256 of what was asked, in the JSON that is stored."""
    return hashlib.sha256(asked.encode("utf-8", errors="surrogateescape")).hexdigest()


def time_text(at: datetime) -> str:
    """UTC in ISO 8601 with microseconds; these texts sort by time."""
    return at.astimezone(UTC).isoformat(timespec="microseconds")


def check_line(text: str, what: str) -> str:
    """`text` as it is.

    Raises:
        LedgerError: it is empty, too long, or not one line of printable characters.
    """
    if not text.strip() or len(text) > LONGEST_LINE or not text.isprintable():
        raise LedgerError(f"{what} must be one line of 1 to {LONGEST_LINE} printable characters")
    return text


def check_request_id(request: str) -> str:
    """`request` as it is.

    Raises:
        LedgerError: it cannot be the id of a request. What was written instead is not repeated.
    """
    if not REQUEST_ID.fullmatch(request):
        raise LedgerError("not a request id: `r-` and 16 hexadecimal digits, as `qunlearn request list` shows them")
    return request
