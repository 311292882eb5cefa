"""The ledger heads that evidence names, held against a ledger: one that lacks any of them was put back or exchanged.

Evidence outlives the ledger's file, and each document names and signs the ledger's last event when it was written. The
chain of an old copy fits together by itself; only from outside can be seen that its end is missing.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from qunlearn.deletion.regular_file import opened

FOLDER = Path(".qunlearn/evidence")
EARLIER = FOLDER / "earlier"
"""Where a person puts evidence that belongs to a ledger which is no longer the project's; it is not looked at here."""
DOCUMENT = re.compile(r"r-[0-9a-f]{16}\.json")
HEAD = re.compile(rb'"ledger":\{"hash":"([0-9a-f]{64})","number":([0-9]{1,18})\}')
"""As the canonical JSON of a document has it; inside of a text its quotes would have backslashes."""
BEGINNING = 2**18
"""Bytes. The head comes before the list of removed objects, the only part of a document that grows."""


@dataclass(frozen=True)
class Named:
    """The head that a file names; not yet known is whether somebody signed it.

    Args:
        file: the document.
        number, hash: of the event.
    """

    file: Path
    number: int
    hash: str


def documents(root: Path) -> list[Path]:
    """The files that have the name of evidence, sorted; not yet known is what they hold.

    Raises:
        OSError: their folder cannot be read.
    """
    folder = root / FOLDER
    return sorted(file for file in folder.iterdir() if DOCUMENT.fullmatch(file.name)) if folder.is_dir() else []


def named_heads(root: Path) -> Iterator[Named]:
    """The head in each document of the project's evidence; files that hold none are no evidence and are left out.

    Raises:
        NotRegularError, OSError: a file has the name of evidence and cannot be read.
    """
    for file in documents(root):
        with opened(file) as stream:
            found = HEAD.search(stream.read(BEGINNING))
        if found is not None:
            yield Named(file, int(found[2]), found[1].decode("ascii"))


def lost_heads(root: Path, named: list[Named], hashes: Mapping[int, str]) -> list[Named]:
    """Those of `named` that a ledger should contain and does not, the newest first.

    Args:
        named: read before `hashes` was: a ledger only grows.
        hashes: number of each event of the ledger -> its hash.

    Returns:
        only heads in documents that are signed with a key that the project trusts. The signatures of the others, which
        the ledger agrees with, are not looked at.
    """
    lacking = [one for one in named if hashes.get(one.number) != one.hash]
    if not lacking:
        return []
    # The forms of the documents and the signatures take a part of a second to load; hardly any run comes here.
    from qunlearn.deletion.evidence import first_fault, read_evidence, verify  # noqa: PLC0415
    from qunlearn.deletion.signing import trusted_keys  # noqa: PLC0415

    keys = trusted_keys(root)
    signed = [
        one for one in lacking if first_fault(verify(read_evidence(one.file), keys, request=one.file.stem)) is None
    ]
    return sorted(signed, key=lambda one: one.number, reverse=True)
