"""Where evidence lies: ``.qunlearn/evidence/<request>.json`` and ``.html``, mode 0600, each written in one step."""

from __future__ import annotations

from pathlib import Path

from qunlearn.deletion.evidence.fields import REQUEST_ID
from qunlearn.deletion.evidence.signed import EvidenceError, Signed
from qunlearn.deletion.private_files import replace

FOLDER = Path(".qunlearn/evidence")
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

    Writing the same again changes nothing, so a run that was cut short may simply be repeated.
    """
    file = evidence_file(root, signed.document.request.id)
    replace(file.with_suffix(".html"), page.encode(), mode=0o600)
    replace(file, signed.content, mode=0o600)
    return file


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
        EvidenceError: it is not there, cannot be read, or is too large to be evidence.
    """
    try:
        with file.open("rb") as opened:
            content = opened.read(LARGEST + 1)
    except FileNotFoundError:
        raise EvidenceError("there is no such evidence: a request has it once it is completed") from None
    except OSError as error:
        raise EvidenceError(f"the evidence cannot be read: {error.strerror}") from None
    if len(content) > LARGEST:
        raise EvidenceError(f"the file has more than {LARGEST} bytes; that is no evidence")
    return content
