"""A chain of events: each hash covers its event and the hash before it, so that no event changes unnoticed.

What the chain alone cannot show: that events are missing at its end, or that everything from some event on was
written anew with fitting hashes. Against the first the ledger keeps a head row (number and hash of the last event),
which finds it unless the head was changed too. Against both, evidence that left this machine names and signs the head
as it was when the evidence was made.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

GENESIS = "0" * 64
"""What stands for the hash before the first event."""


class Row(NamedTuple):
    """An event as it is stored."""

    number: int
    """1, 2, 3, ..."""
    body: str
    """The canonical JSON that was hashed; its key `number` repeats the number, `at` is the time."""
    hash: str


@dataclass(frozen=True)
class Fault:
    """The first thing that is wrong with a ledger.

    Args:
        row: the row that does not fit, such as `event 7`.
        problem: what is wrong with it; no content of the row.
        number: of the event, where the row is one.
    """

    row: str
    problem: str
    number: int | None = None

    def __str__(self) -> str:
        return f"{self.row}: {self.problem}"


def canonical(value: Mapping[str, Any]) -> str:
    """`value` as JSON with sorted keys and without spaces: equal values have equal texts.

    Raises:
        ValueError: it is not JSON (for example NaN, a path, or text that is not UTF-8); the message repeats no content.
    """
    try:
        text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
        text.encode("utf-8")
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"only JSON can be written to the ledger ({type(error).__name__}); use text in UTF-8, finite numbers, "
            "true, false, null, lists, and objects with text as keys"
        ) from None
    return text


def digest(previous: str, body: Mapping[str, Any]) -> str:
    """The hash of an event: sha256 over the hash before it and its canonical JSON in UTF-8, in hexadecimal.

    >>> digest(GENESIS, {"number": 1})
    '71954ae62f8018da104c86cc9b478bbbcae873cc3063f62aea6b4d1083aab8c4'
    """
    return digest_text(previous, canonical(body))


def digest_text(previous: str, body: str) -> str:
    """`digest` of a body that is canonical JSON already."""
    # Bytes that were no UTF-8 are read as lone surrogates and become those bytes again here: they fail the comparison.
    return hashlib.sha256((previous + body).encode("utf-8", errors="surrogateescape")).hexdigest()


def verify(rows: Iterable[Row]) -> Fault | None:
    """The first event, in order of number, that is missing or changed; None where all of them fit together."""
    previous, time = GENESIS, ""
    for expected, row in enumerate(rows, start=1):
        name = f"event {expected}"
        if row.number != expected:
            return Fault(name, f"is missing; event {row.number} comes in its place", expected)
        if not isinstance(row.body, str) or digest_text(previous, row.body) != row.hash:
            return Fault(name, "its hash does not fit its content and the hash of the event before it", expected)
        number, at = _number_and_time(row.body)
        if number != expected:
            return Fault(name, "its content is not that of an event with this number", expected)
        if at < time:
            return Fault(name, "it is older than the event before it", expected)
        previous, time = row.hash, at
    return None


def _number_and_time(body: str) -> tuple[object, str]:
    """What the body says of itself; (None, "") where it says nothing."""
    try:
        content = json.loads(body)
    except ValueError:
        return None, ""
    return (content.get("number"), str(content.get("at"))) if isinstance(content, dict) else (None, "")
