"""Request files: a folder of ``*.txt``, one sample id a line.

A request lies in the folder until it is decided as a whole; then it moves to ``done/``, or to ``rejected/`` beside a
``<name>.reason.txt``. The move is a single rename, so a request is never both and never in between. Who writes a
request should write it under another name and rename it to ``*.txt`` when it is complete.
"""

from __future__ import annotations

import os
from collections.abc import Container
from dataclasses import dataclass
from pathlib import Path


class RequestError(ValueError):
    """A request that cannot be carried out.

    The message names lines, never their content: it goes into logs, and a mistaken line may hold anything.
    """


@dataclass(frozen=True)
class Request:
    """A readable request.

    Args:
        path: its file.
        ids: the samples to forget, each once, in the order of the file.
    """

    path: Path
    ids: tuple[str, ...]


def pending(folder: Path) -> list[Path]:
    """The request files that wait in `folder`, by name; none when there is no such folder."""
    return sorted(path for path in folder.glob("*.txt") if path.is_file())


def read_request(path: Path, *, known: Container[str]) -> Request:
    """Read a request file: one id a line; blank lines and lines that begin with ``#`` are skipped.

    Args:
        known: the ids that a request may name.

    Raises:
        RequestError: the file is not text, names nothing, or names an id that is not known.
    """
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise RequestError(f"not a text file: byte {error.start} is not UTF-8; write one sample id a line") from None
    except PermissionError:
        raise RequestError("the file cannot be read: no permission") from None
    if "\0" in text:
        raise RequestError(f"not a text file: it holds a zero byte at {text.index(chr(0))}; write one sample id a line")
    lines = [(number, line.strip()) for number, line in enumerate(text.splitlines(), start=1)]
    named = [(number, line) for number, line in lines if line and not line.startswith("#")]
    if not named:
        raise RequestError("names no sample; write one sample id a line")
    unknown = [number for number, line in named if line not in known]
    if unknown:
        shown = ", ".join(map(str, unknown[:10])) + (", ..." if len(unknown) > 10 else "")
        raise RequestError(
            f"{len(unknown)} of {len(named)} lines name no sample of the image set (line {shown}); "
            "valid ids are the lines of data/prepared/ids.txt. Nothing of this request was carried out"
        )
    return Request(path, tuple(dict.fromkeys(line for _, line in named)))


def finish(path: Path) -> Path:
    """Move a request that was carried out to ``done/``; its new place."""
    return _move(path, _free_place(path, "done"))


def reject(path: Path, reason: str) -> Path:
    """Move a request to ``rejected/`` beside a file with the reason; its new place."""
    target = _free_place(path, "rejected")
    # The reason comes first: whoever finds the request in its new place finds the reason too.
    with target.with_suffix(".reason.txt").open("w", encoding="utf-8") as file:
        file.write(reason + "\n")
        file.flush()
        os.fsync(file.fileno())
    return _move(path, target)


def _free_place(path: Path, folder: str) -> Path:
    """A path in the sibling folder that no earlier request of the same name has."""
    place = path.parent / folder / path.name
    place.parent.mkdir(exist_ok=True)
    number = 1
    while place.exists():
        number += 1
        place = place.with_name(f"{path.stem}-{number}{path.suffix}")
    return place


def _move(path: Path, target: Path) -> Path:
    path.rename(target)
    return target
