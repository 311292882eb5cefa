"""The kinds of field in the evidence, and the two ways to make a digest."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, Field, StringConstraints


class Part(BaseModel):
    """Base of every part of the document: unknown fields are errors, nothing changes later, numbers are finite."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True, allow_inf_nan=False)


def canonical(value: Any) -> bytes:
    """JSON with sorted keys, no spaces and no line breaks, in UTF-8: one spelling for each value."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return text.encode()


def json_digest(value: Any) -> str:
    """sha256 of the canonical JSON, in hexadecimal."""
    return hashlib.sha256(canonical(value)).hexdigest()


def ids_digest(ids: Iterable[str]) -> str:
    """sha256 of the sorted ids, one a line with a newline after each: ``LC_ALL=C sort -u ids.txt | sha256sum``."""
    return hashlib.sha256("".join(f"{one}\n" for one in sorted(set(ids))).encode()).hexdigest()


def _plain(text: str) -> str:
    # No text may break a table or steer a terminal.
    return " ".join("".join(sign if sign.isprintable() else " " for sign in text).split())


def _to_seconds(moment: datetime) -> datetime:
    try:
        return moment.astimezone(UTC).replace(microsecond=0)
    except OverflowError:
        raise ValueError("a moment before the year 1 or after the year 9999") from None


def _ordered(interval: tuple[float, float]) -> tuple[float, float]:
    if interval[0] > interval[1]:
        raise ValueError("the lower end of an interval is not above its upper end")
    return interval


Text = Annotated[str, AfterValidator(_plain), Field(min_length=1)]
"""One line of printable characters."""
Sha256 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
REQUEST_ID = re.compile(r"r-[0-9a-f]{16}")
RequestId = Annotated[str, StringConstraints(pattern=f"^{REQUEST_ID.pattern}$")]
BatchId = Annotated[str, StringConstraints(pattern=r"^b-[0-9a-f]{16}$")]
Commit = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{40}([0-9a-f]{24})?$")]
ObjectDigest = Annotated[str, StringConstraints(pattern=r"^(sha256:[0-9a-f]{64}|md5:[0-9a-f]{32}(\.dir)?)$")]
"""Of an object in a store, by the store's own measure."""
Moment = Annotated[AwareDatetime, AfterValidator(_to_seconds)]
"""UTC, whole seconds."""
Interval = Annotated[tuple[float, float], AfterValidator(_ordered)]
"""Lower and upper end."""
Outcome = Literal["unlearned", "retrained", "not trained", "already erased", "not present"]
