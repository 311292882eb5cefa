"""What names a person is kept as a keyed hash only: whoever has the key can recognise a name, nobody can read one.

A plain hash would not do: mail addresses and customer numbers can be guessed one after the other. The key lies beside
the ledger, in a file that its owner alone can read, or in the environment variable QUNLEARN_KEY. Once the key is lost
the hashes in the ledger can no longer be recognised, which is also how they are made meaningless for good.
"""

from __future__ import annotations

import hmac
import os
import re
import secrets
import unicodedata
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from qunlearn.deletion.private_files import PrivateFileError, create, read_key_file

Purpose = Literal["subject", "reference", "sample"]

VARIABLE = "QUNLEARN_KEY"
FILE = Path(".qunlearn") / "identity.key"
"""Below the project's root: 64 hexadecimal digits on one line."""
DIGITS = re.compile(r"[0-9a-fA-F]{64}")
HASHED = re.compile(r"[0-9a-f]{64}")
"""What `Key.hashed` returns."""
WHOLE_NUMBER = re.compile(r"[0-9]+")


class IdentityError(ValueError):
    """A key that cannot be used, or a text that names nobody. The message repeats neither."""


@dataclass(frozen=True)
class Key:
    """32 secret bytes; they are in no representation of it."""

    secret: bytes = field(repr=False)
    source: str = field(default=str(FILE), compare=False)
    """Where it is from, for messages."""

    @classmethod
    def load(cls, root: Path) -> Key:
        """The key of the environment, or that of the project in `root`; made when it is first needed.

        Raises:
            IdentityError: the variable is not 64 hexadecimal digits; the file is not either, is a link or no regular
                file, may be read by others than its owner, or is gone although the project's ledger was written with
                it.
            LedgerError: the ledger was written with another key, or cannot be read.
        """
        # It brings SQLAlchemy, which the ledger itself needs; this module is also what the ledger knows keys by.
        from qunlearn.deletion import key_check  # noqa: PLC0415

        expected = key_check.recorded(root)
        key = cls.at_hand(root)
        if key is None and expected is not None:
            raise IdentityError(
                f"{FILE} is gone, but the ledger was written with it: restore it from a backup, or set {VARIABLE}; if "
                f"it is gone for good: {key_check.ACCEPT}"
            )
        key = key or cls.made(root)
        if expected is not None and key.check != expected:
            raise key_check.OtherKeyError(key_check.other_key(key.source))
        return key

    @classmethod
    def at_hand(cls, root: Path) -> Key | None:
        """The key of the environment or the project's file, whatever the ledger says; None where there is neither.

        Raises:
            IdentityError: as `load` for a variable or a file that cannot be used.
        """
        given = os.environ.get(VARIABLE)
        if given is not None:
            fix = f"unset {VARIABLE} to use the project's own key"
            return cls(_secret(given, where=VARIABLE, fix=fix), source=VARIABLE)
        return cls._read(root / FILE) if os.path.lexists(root / FILE) else None

    @classmethod
    def made(cls, root: Path) -> Key:
        """The project's own key, made where there is none.

        Raises:
            IdentityError: it cannot be made, or what is there cannot be used.
        """
        file = root / FILE
        try:
            create(file, f"{secrets.token_hex(32)}\n".encode("ascii"), mode=0o600)
        except OSError as error:
            raise IdentityError(f"{file}: {error.strerror}; make its folder writable, or set {VARIABLE}") from None
        return cls._read(file)

    @classmethod
    def _read(cls, file: Path) -> Key:
        try:
            content = read_key_file(file, secret=True)
        except PrivateFileError as error:
            raise IdentityError(f"{file}: {error}") from None
        except OSError as error:
            raise IdentityError(f"{file}: {error.strerror}; make its folder writable, or set {VARIABLE}") from None
        fix = "restore it from a backup: with another key nobody recognises subjects and references of earlier requests"
        return cls(_secret(content.decode("ascii", errors="replace").strip(), where=str(file), fix=fix))

    @property
    def check(self) -> str:
        """By what a ledger knows the key again, 64 hexadecimal digits: no text of any purpose has this hash."""
        return hmac.digest(self.secret, b"qunlearn/key check\0", "sha256").hex()

    def hashed(self, purpose: Purpose, text: str) -> str:
        """HMAC-SHA256 of `text`, 64 hexadecimal digits; a text has another hash for each purpose.

        Texts that differ in surrounding space or in the composition of their characters (NFC) are one, and so are
        subjects that are the same whole number, as `007` and `7` are in the data.

        Raises:
            IdentityError: nothing is left of the text, or it holds bytes that are no characters.
        """
        plain = unicodedata.normalize("NFC", text).strip()
        if not plain:
            raise IdentityError(f"the {purpose} is empty; give a text, or leave it out")
        if purpose == "subject" and WHOLE_NUMBER.fullmatch(plain):
            plain = plain.lstrip("0") or "0"
        try:
            message = f"qunlearn/{purpose}\0{plain}".encode()
        except UnicodeEncodeError:
            raise IdentityError(f"the {purpose} is not text in UTF-8; write it in UTF-8") from None
        return hmac.digest(self.secret, message, "sha256").hex()


def _secret(digits: str, *, where: str, fix: str) -> bytes:
    if not DIGITS.fullmatch(digits):
        raise IdentityError(f"{where}: must be 64 hexadecimal digits, not these {len(digits)} characters; {fix}")
    return bytes.fromhex(digits)
