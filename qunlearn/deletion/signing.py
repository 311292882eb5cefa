"""The Ed25519 key (RFC 8032) that signs evidence, and the public keys that evidence is checked with.

``.qunlearn/signing.key``    private, mode 0600; made at first use, or given in the environment instead
``.qunlearn/signing.pub``    its public half, for auditors
``.qunlearn/trusted/*.pub``  public halves of keys used earlier: evidence outlives a rotation

Each may be PEM (PKCS8 without a passphrase, SubjectPublicKeyInfo) or the base64 of the 32 raw bytes.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import os
from dataclasses import dataclass
from pathlib import Path

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
    load_pem_public_key,
)

from qunlearn.deletion.private_files import LARGEST_KEY, PrivateFileError, create, read_key_file
from qunlearn.deletion.regular_file import NotRegularError, opened

VARIABLE = "QUNLEARN_SIGNING_KEY"
KEY, PUBLIC, TRUSTED = Path(".qunlearn/signing.key"), Path(".qunlearn/signing.pub"), Path(".qunlearn/trusted")
RAW_BYTES = 32
PEM_START = b"-----BEGIN "
PRIVATE_FORM = f"PKCS8 PEM without a passphrase, or the base64 of {RAW_BYTES} bytes"
PUBLIC_FORM = f"PEM as `openssl pkey -pubout` writes it, or the base64 of {RAW_BYTES} bytes"


class SigningKeyError(ValueError):
    """A key that cannot be used; the message never holds any of its content."""


@dataclass(frozen=True)
class PublicKey:
    """What a signature is checked with.

    Args:
        raw: its 32 bytes.
    """

    raw: bytes

    @property
    def id(self) -> str:
        """First 16 hexadecimal digits of the sha256 of the raw bytes."""
        return hashlib.sha256(self.raw).hexdigest()[:16]

    @property
    def pem(self) -> bytes:
        """As OpenSSL reads it."""
        key = Ed25519PublicKey.from_public_bytes(self.raw)
        return key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)

    def fits(self, signature: bytes, message: bytes) -> bool:
        """Whether `signature` was made over exactly `message` with the private half."""
        try:
            Ed25519PublicKey.from_public_bytes(self.raw).verify(signature, message)
        except InvalidSignature:
            return False
        return True


class SigningKey:
    """A private key in memory; it is never printed."""

    def __init__(self, key: Ed25519PrivateKey) -> None:
        self._key = key

    @classmethod
    def load(cls, root: Path) -> SigningKey:
        """The key of the project at `root`: from the environment, else from its file, which is made at first use.

        The public half is written beside the file when it is not there yet.

        Raises:
            SigningKeyError: the key or its file cannot be used, or `signing.pub` belongs to another key.
        """
        given = os.environ.get(VARIABLE)
        try:
            if given is not None:
                key = cls(_private(os.fsencode(given), where=VARIABLE))
            else:
                key = cls(_private(_content_of_key_file(root), where=str(KEY)))
            _publish(root, key.public)
        except OSError as error:
            raise SigningKeyError(f"{KEY.parent}: {error.strerror}; make the folder writable for this user") from None
        return key

    @property
    def public(self) -> PublicKey:
        return PublicKey(self._key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw))

    def sign(self, message: bytes) -> bytes:
        """The signature, 64 bytes; the same message gives the same signature."""
        return self._key.sign(message)


def trusted_keys(root: Path) -> tuple[PublicKey, ...]:
    """The public keys that the project at `root` trusts: `signing.pub` and those in `trusted/`, by name.

    Raises:
        SigningKeyError: one of the files is no such key, is a link, or can be written by everybody.
    """
    files = [root / PUBLIC] if os.path.lexists(root / PUBLIC) else []
    return tuple(_trusted_key(file, root) for file in [*files, *sorted((root / TRUSTED).glob("*.pub"))])


def read_public_key(file: Path) -> PublicKey:
    """A public key from any file, as an auditor received it.

    Raises:
        SigningKeyError: the file cannot be read, or holds no Ed25519 public key.
    """
    try:
        with opened(file) as stream:
            content = stream.read(LARGEST_KEY)
    except NotRegularError as error:
        raise SigningKeyError(f"{file}: {error}; name the file of a public key") from None
    except OSError as error:
        raise SigningKeyError(f"{file}: cannot be read: {error.strerror}; name the file of a public key") from None
    return _public(content, where=str(file))


def _content_of_key_file(root: Path) -> bytes:
    file = root / KEY
    # Looked at first, since it is written last: another process that is making both right now is then no loss of a key.
    published = os.path.lexists(root / PUBLIC)
    if not os.path.lexists(file):
        if published:
            raise SigningKeyError(
                f"{KEY} is gone, but {PUBLIC} is there: restore the key from a backup, set {VARIABLE}, or move "
                f"{PUBLIC} to {TRUSTED}/ to go on with a new key"
            )
        fresh = Ed25519PrivateKey.generate()
        create(file, fresh.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()), mode=0o600)
    try:
        return read_key_file(file, secret=True)
    except PrivateFileError as error:
        raise SigningKeyError(f"{KEY}: {error}") from None


def _publish(root: Path, public: PublicKey) -> None:
    file = root / PUBLIC
    if not os.path.lexists(file):
        create(file, public.pem, mode=0o644)
    if _trusted_key(file, root) != public:
        raise SigningKeyError(
            f"{PUBLIC} is not the public half of the signing key; after a change of keys move it to {TRUSTED}/, where "
            "evidence signed earlier finds it, and run this again"
        )


def _trusted_key(file: Path, root: Path) -> PublicKey:
    where = str(file.relative_to(root))
    try:
        return _public(read_key_file(file, secret=False), where=where)
    except PrivateFileError as error:
        raise SigningKeyError(f"{where}: {error}") from None


def _private(content: bytes, *, where: str) -> Ed25519PrivateKey:
    raw = _raw(content)
    if raw is not None:
        return Ed25519PrivateKey.from_private_bytes(raw)
    try:
        key = load_pem_private_key(content, password=None)
    except TypeError:
        raise SigningKeyError(f"{where}: the key has a passphrase; allowed is {PRIVATE_FORM}") from None
    except (ValueError, UnsupportedAlgorithm):
        raise SigningKeyError(f"{where}: not a private key; allowed is {PRIVATE_FORM}") from None
    if not isinstance(key, Ed25519PrivateKey):
        raise SigningKeyError(f"{where}: not an Ed25519 key; make one with `openssl genpkey -algorithm ed25519`")
    return key


def _public(content: bytes, *, where: str) -> PublicKey:
    raw = _raw(content)
    if raw is not None:
        return PublicKey(raw)
    try:
        key = load_pem_public_key(content)
    except (ValueError, UnsupportedAlgorithm):
        raise SigningKeyError(f"{where}: not a public key; allowed is {PUBLIC_FORM}") from None
    if not isinstance(key, Ed25519PublicKey):
        raise SigningKeyError(f"{where}: not an Ed25519 public key; allowed is {PUBLIC_FORM}")
    return PublicKey(key.public_bytes(Encoding.Raw, PublicFormat.Raw))


def _raw(content: bytes) -> bytes | None:
    """The bytes that base64 text stands for; None where it is not the base64 of a key."""
    if content.lstrip().startswith(PEM_START):
        return None
    try:
        raw = base64.b64decode(content.strip(), validate=True)
    except binascii.Error:
        return None
    return raw if len(raw) == RAW_BYTES else None
