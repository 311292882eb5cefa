"""Where evidence lies: ``.qunlearn/evidence/<request>.json`` and ``.html``, mode 0600, each written in one step."""

from __future__ import annotations

import os
from pathlib import Path

from qunlearn.deletion.evidence.fields import REQUEST_ID
from qunlearn.deletion.evidence.signed import EvidenceError, Signed, parse
from qunlearn.deletion.evidence_heads import EARLIER, FOLDER
from qunlearn.deletion.private_files import remove_unfinished, replace
from qunlearn.deletion.regular_file import NotRegularError, opened

LARGEST = 64 * 2**20
"""Bytes; the evidence of a hundred thousand removed objects is smaller."""


def is_request_id(text: str) -> bool:
    """Whether `text` can be the name of a request, and so of a file: ``r-`` and 16 hexadecimal digits."""
    return REQUEST_ID.fullmatch(text) is not None


def evidence_file(root: Path, request: str) -> Path:
    """Where the evidence of a request is, or will be; the page lies beside it, with the suffix ``.html``.

    Raises:
        EvidenceError: `request` is no name of a request, such as a path that leads elsewhere.
    """
    if not is_request_id(request):
        # It is not repeated: who mistakes what goes here may have typed a name.
        raise EvidenceError(
            "not a request: requests are named r- and 16 hexadecimal digits; see `qunlearn request list`"
        )
    return root / FOLDER / f"{request}.json"


def write_evidence(root: Path, signed: Signed, page: str) -> Path:
    """Write the page, then the document: where the document is, the page is there too. Returns the document's file.

    Writing the same again changes nothing, so a run that was cut short may simply be repeated: what it left half
    written is removed. One writer a request at a time; the batch's lease sees to that.

    Raises:
        EvidenceError: there is evidence already that tells another story; nothing was written.
    """
    file = evidence_file(root, signed.document.request.id)
    _check_replaceable(file, signed)
    for one, content in ((file.with_suffix(".html"), page.encode()), (file, signed.content)):
        remove_unfinished(one)
        replace(one, content, mode=0o600)
    return file


def _check_replaceable(file: Path, signed: Signed) -> None:
    """A run that was cut short has its batch and its outcomes from the ledger: the next one writes the same ones."""
    if not os.path.lexists(file):
        return
    try:
        there = parse(read_evidence(file)).document
    except EvidenceError:
        told = "cannot be read as evidence"
    else:
        request, batch, new = there.request, there.batch.id, signed.document
        if (request.id, request.outcome, batch) == (new.request.id, new.request.outcome, new.batch.id):
            return
        told = f"tells of another request, batch or outcome ({request.id}, {batch}, {request.outcome})"
    raise EvidenceError(
        f"{FOLDER / file.name} is there already and {told}; evidence is never replaced: see that the ledger is the "
        f"project's newest one (`qunlearn ledger verify`), then move the file to {EARLIER} and run this again"
    )


def write_page(file: Path, page: str) -> None:
    """Write a page to wherever a person wants it, in one step and readable by its owner alone.

    Raises:
        EvidenceError: it cannot be written there.
    """
    try:
        replace(file, page.encode(), mode=0o600)
    except OSError as error:
        raise EvidenceError(f"the page cannot be written there: {error.strerror}; name another file") from None


def read_evidence(file: Path) -> bytes:
    """The bytes of an evidence file, not yet verified.

    Raises:
        EvidenceError: it is not there, is no regular file, cannot be read, or is too large to be evidence.
    """
    try:
        with opened(file) as stream:
            content = stream.read(LARGEST + 1)
    except FileNotFoundError:
        raise EvidenceError("there is no such evidence: a request has it once it is completed") from None
    except NotRegularError as error:
        raise EvidenceError(f"the evidence cannot be read: it {error}; name the .json file") from None
    except OSError as error:
        raise EvidenceError(f"the evidence cannot be read: {error.strerror}") from None
    if len(content) > LARGEST:
        raise EvidenceError(f"the file has more than {LARGEST} bytes; that is no evidence")
    return content
