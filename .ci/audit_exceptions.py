"""Reads `audit-exceptions.toml`: what an audit may find, and why."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, fields
from datetime import date
from pathlib import Path
from typing import Any, TypeVar

FILE = Path(__file__).with_name("audit-exceptions.toml")


class ExceptionsError(Exception):
    """The list is not as its own head says."""


@dataclass(frozen=True)
class Code:
    """A place in the code: findings of the rule in lines of the file that hold the text `line`."""

    rule: str
    file: str
    line: str
    reason: str


@dataclass(frozen=True)
class Vulnerability:
    """A vulnerability of a package, accepted until a date."""

    id: str
    package: str
    until: date
    reason: str


Entry = TypeVar("Entry", Code, Vulnerability)


def read(file: Path = FILE) -> tuple[tuple[Code, ...], tuple[Vulnerability, ...]]:
    """All entries of both kinds.

    Raises:
        ExceptionsError: the file is missing or damaged, an entry is not complete, or its reason is empty.
    """
    try:
        content = tomllib.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ExceptionsError(f"{file.name}: {error}") from None
    if unknown := set(content) - {"code", "vulnerability"}:
        raise ExceptionsError(f"{file.name}: unknown: {', '.join(sorted(unknown))}; use [[code]], [[vulnerability]]")
    return (
        tuple(_entry(Code, one, file.name) for one in content.get("code", ())),
        tuple(_entry(Vulnerability, one, file.name) for one in content.get("vulnerability", ())),
    )


def _entry(kind: type[Entry], content: Mapping[str, Any], name: str) -> Entry:
    types = {field.name: date if field.name == "until" else str for field in fields(kind)}
    if set(content) != set(types):
        raise ExceptionsError(f"{name}: {dict(content)} must have {', '.join(types)}")
    for key, value in content.items():
        # A date with a time is a `date`, too.
        if type(value) is not types[key] or not str(value).strip():
            raise ExceptionsError(f"{name}: {key} = {value!r} must be a {types[key].__name__}, and not empty")
    return kind(**content)
