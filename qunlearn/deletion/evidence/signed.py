"""A signed document and its file.

The file is JSON in five lines, so that the signed bytes can be cut out with standard tools: line 2 is the document as
canonical JSON, and without its line break it is exactly what was signed; line 4 is the signature.
"""

from __future__ import annotations

import base64
from collections.abc import Iterator
from typing import Annotated, Literal

from pydantic import StringConstraints, ValidationError

from qunlearn.deletion.evidence.document import Document
from qunlearn.deletion.evidence.fields import Part, canonical
from qunlearn.deletion.signing import SigningKey


class EvidenceError(ValueError):
    """Evidence that cannot be made or read; the message names fields and rules, never what a field holds."""


class Signature(Part):
    """Who signed, and the signature."""

    algorithm: Literal["Ed25519"]
    """RFC 8032; signed is the canonical JSON of the document, in UTF-8."""
    key: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{16}$")]
    """Id of the public key: the first 16 hexadecimal digits of the sha256 of its 32 bytes."""
    value: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9+/]{85}[AQgw]==$")]
    """base64 of the signature's 64 bytes."""


class Signed(Part):
    """What the file of one request holds."""

    document: Document
    """What is signed."""
    signature: Signature
    """By whom, and the signature."""

    @property
    def content(self) -> bytes:
        """The file, byte for byte."""
        signature = canonical(self.signature.model_dump(mode="json"))
        return b"\n".join([b'{"document":', message(self.document), b',"signature":', signature, b"}\n"])

    @property
    def raw_signature(self) -> bytes:
        """Its 64 bytes."""
        return base64.b64decode(self.signature.value)


def message(document: Document) -> bytes:
    """The bytes that are signed."""
    return canonical(document.model_dump(mode="json"))


def sign(document: Document, key: SigningKey) -> Signed:
    """Sign a document; the same document and key always give the same file."""
    value = base64.b64encode(key.sign(message(document))).decode("ascii")
    return Signed(document=document, signature=Signature(algorithm="Ed25519", key=key.public.id, value=value))


def parse(content: bytes) -> Signed:
    """Read what a file holds. That it has the right form says nothing yet about whether it is genuine.

    Raises:
        EvidenceError: it has not.
    """
    try:
        return Signed.model_validate_json(content, strict=True)
    except ValidationError as error:
        missing = {detail["loc"] for detail in error.errors() if detail["type"] == "missing"}
        if missing >= {("document",), ("signature",)}:
            # Each of its fields would be one that should not be there.
            raise EvidenceError(
                "not evidence of version 1: there is no document with its signature; give the whole file that "
                "`qunlearn evidence show REQUEST --json` prints, not a part of it"
            ) from None
        raise EvidenceError("\n".join(f"not evidence of version 1: {line}" for line in explained(error))) from None


def explained(error: ValidationError) -> Iterator[str]:
    """Each mistake with the field it is in, without what was found there."""
    for detail in error.errors(include_url=False, include_input=False):
        # The name of a field that should not be there is something that was found, too.
        place = detail["loc"][:-1] if detail["type"] == "extra_forbidden" else detail["loc"]
        text = detail["msg"].removeprefix("Value error, ")
        yield f"{'.'.join(map(str, place))}: {text}" if place else text
