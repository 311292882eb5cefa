"""The signing key: where it comes from, what is refused, and which public keys are trusted."""

from __future__ import annotations

import base64
import hashlib
import os
import stat
from concurrent.futures import ThreadPoolExecutor

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

from qunlearn.deletion import signing
from qunlearn.deletion.signing import SigningKey, SigningKeyError, read_public_key, trusted_keys

SECRET = "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60"
PUBLIC = "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a"
SIGNATURE = (
    "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe246551"
    "41438e7a100b"
)
"""RFC 8032, section 7.1, test 1: the empty message."""


@pytest.fixture(autouse=True)
def no_key_in_the_environment(monkeypatch):
    monkeypatch.delenv(signing.VARIABLE, raising=False)


@pytest.fixture
def key_file(tmp_path):
    SigningKey.load(tmp_path)
    return tmp_path / signing.KEY


def pem(key, encryption=None):
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption or NoEncryption())


def public_pem(key):
    return key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


def mode(path):
    return stat.S_IMODE(path.stat().st_mode)


UNUSABLE = {
    "empty": b"",
    "words": b"Jane Doe's secret",
    "too short": base64.b64encode(bytes(31)),
    "another algorithm": pem(ec.generate_private_key(ec.SECP256R1())),
    "a passphrase": pem(Ed25519PrivateKey.generate(), BestAvailableEncryption(b"word")),
    "a public key": public_pem(Ed25519PrivateKey.generate()),
    "a torn file": pem(Ed25519PrivateKey.generate())[:-40],
}


def test_a_published_vector_comes_out(tmp_path, monkeypatch):
    monkeypatch.setenv(signing.VARIABLE, base64.b64encode(bytes.fromhex(SECRET)).decode())
    key = SigningKey.load(tmp_path)
    assert key.public.raw.hex() == PUBLIC
    assert key.sign(b"").hex() == SIGNATURE
    assert key.public.id == hashlib.sha256(bytes.fromhex(PUBLIC)).hexdigest()[:16]


def test_a_key_is_made_at_first_use_for_its_owner_alone(tmp_path):
    old = os.umask(0)
    try:
        key = SigningKey.load(tmp_path)
    finally:
        os.umask(old)
    assert mode(tmp_path / ".qunlearn") == 0o700
    assert mode(tmp_path / signing.KEY) == 0o600
    assert mode(tmp_path / signing.PUBLIC) == 0o644
    assert sorted(path.name for path in (tmp_path / ".qunlearn").iterdir()) == ["signing.key", "signing.pub"]
    assert SigningKey.load(tmp_path).public == key.public
    assert read_public_key(tmp_path / signing.PUBLIC) == key.public


def test_many_at_once_make_one_key(tmp_path):
    with ThreadPoolExecutor(16) as pool:
        keys = {key.public for key in pool.map(lambda _: SigningKey.load(tmp_path), range(64))}
    assert len(keys) == 1
    assert sorted(path.name for path in (tmp_path / ".qunlearn").iterdir()) == ["signing.key", "signing.pub"]


def test_a_signature_fits_its_message_and_key_only(tmp_path):
    key, other = SigningKey.load(tmp_path / "a"), SigningKey.load(tmp_path / "b")
    signature = key.sign(b"message")
    assert key.public.fits(signature, b"message")
    assert not key.public.fits(signature, b"massage")
    assert not other.public.fits(signature, b"message")
    assert not key.public.fits(bytes(64), b"message")
    assert not key.public.fits(b"", b"message")


@pytest.mark.parametrize("form", [pem, lambda key: base64.b64encode(key.private_bytes_raw()) + b"\n"])
@pytest.mark.parametrize("place", ["file", "environment"])
def test_a_key_of_ones_own_is_taken_in_both_forms(tmp_path, monkeypatch, form, place):
    own = Ed25519PrivateKey.generate()
    if place == "file":
        (tmp_path / ".qunlearn").mkdir()
        (tmp_path / signing.KEY).touch(mode=0o600)
        (tmp_path / signing.KEY).write_bytes(form(own))
    else:
        monkeypatch.setenv(signing.VARIABLE, form(own).decode())
    assert SigningKey.load(tmp_path).public.raw == own.public_key().public_bytes_raw()
    assert (tmp_path / signing.KEY).exists() == (place == "file")


@pytest.mark.parametrize("content", UNUSABLE.values(), ids=UNUSABLE)
@pytest.mark.parametrize("place", ["file", "environment"])
def test_an_unusable_key_is_refused_without_a_word_of_it(tmp_path, monkeypatch, content, place):
    if place == "file":
        (tmp_path / ".qunlearn").mkdir()
        (tmp_path / signing.KEY).touch(mode=0o600)
        (tmp_path / signing.KEY).write_bytes(content)
    else:
        monkeypatch.setenv(signing.VARIABLE, content.decode())
    with pytest.raises(SigningKeyError) as error:
        SigningKey.load(tmp_path)
    where = str(signing.KEY) if place == "file" else signing.VARIABLE
    assert str(error.value).startswith(f"{where}: ")
    assert "\n" not in str(error.value)
    assert not any(word in str(error.value) for word in content.decode().split() if len(word) > 8)
    assert not (tmp_path / signing.PUBLIC).exists()


def test_an_environment_that_is_no_text_is_refused(tmp_path, monkeypatch):
    monkeypatch.setenv(signing.VARIABLE, os.fsdecode(b"\xff\xfe"))
    with pytest.raises(SigningKeyError, match="not a private key"):
        SigningKey.load(tmp_path)


@pytest.mark.parametrize("open_to", [0o640, 0o604, 0o620, 0o602, 0o610, 0o777])
def test_a_file_that_others_can_touch_is_refused(tmp_path, key_file, open_to):
    key_file.chmod(open_to)
    with pytest.raises(SigningKeyError, match=rf"mode {open_to:04o} is open to others; run chmod 0[67]00 on it"):
        SigningKey.load(tmp_path)


def test_another_users_file_is_refused(tmp_path, key_file, monkeypatch):
    monkeypatch.setattr("os.geteuid", lambda: key_file.stat().st_uid + 1)
    with pytest.raises(SigningKeyError, match="belongs to user"):
        SigningKey.load(tmp_path)


def test_a_link_is_refused_even_to_a_good_key(tmp_path, key_file):
    key_file.rename(key_file.with_name("real.key"))
    key_file.symlink_to("real.key")
    with pytest.raises(SigningKeyError, match=r"signing\.key: is a link; put the file itself there"):
        SigningKey.load(tmp_path)
    key_file.unlink()
    key_file.symlink_to("nowhere")
    with pytest.raises(SigningKeyError, match="is a link"):
        SigningKey.load(tmp_path)
    assert not key_file.with_name("nowhere").exists()


@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir])
def test_what_is_no_file_is_refused_at_once(tmp_path, key_file, make):
    key_file.unlink()
    make(key_file, 0o600)
    with pytest.raises(SigningKeyError, match="is no ordinary file"):
        SigningKey.load(tmp_path)


def test_a_huge_file_is_not_read(tmp_path, key_file):
    key_file.write_bytes(b"A" * 20_000)
    with pytest.raises(SigningKeyError, match="more than 10000 bytes"):
        SigningKey.load(tmp_path)


def test_a_folder_that_cannot_be_made_is_one_plain_line(tmp_path):
    (tmp_path / ".qunlearn").touch()
    with pytest.raises(SigningKeyError, match="make the folder writable"):
        SigningKey.load(tmp_path)


def test_after_a_change_of_keys_the_old_public_half_must_be_kept_or_moved(tmp_path, key_file):
    old = SigningKey.load(tmp_path).public
    key_file.write_bytes(pem(Ed25519PrivateKey.generate()))
    with pytest.raises(SigningKeyError, match=r"is not the public half .* move it to \.qunlearn/trusted/"):
        SigningKey.load(tmp_path)

    (tmp_path / signing.TRUSTED).mkdir()
    (tmp_path / signing.PUBLIC).rename(tmp_path / signing.TRUSTED / "2026.pub")
    new = SigningKey.load(tmp_path).public
    assert new != old
    assert trusted_keys(tmp_path) == (new, old)


def test_a_lost_key_is_not_replaced_in_silence(tmp_path, key_file):
    key_file.unlink()
    with pytest.raises(SigningKeyError, match=r"signing\.key is gone, but .*signing\.pub is there"):
        SigningKey.load(tmp_path)
    assert not key_file.exists()


def test_nothing_is_trusted_where_nothing_was_signed(tmp_path):
    assert trusted_keys(tmp_path) == ()


def test_trusted_keys_may_have_both_forms_and_other_files_are_left_alone(tmp_path, key_file):
    first, second = (Ed25519PrivateKey.generate() for _ in range(2))
    folder = tmp_path / signing.TRUSTED
    folder.mkdir()
    (folder / "a.pub").write_bytes(base64.b64encode(first.public_key().public_bytes_raw()))
    (folder / "b.pub").write_bytes(public_pem(second))
    (folder / "note.txt").write_text("not a key")
    expected = [first.public_key().public_bytes_raw(), second.public_key().public_bytes_raw()]
    assert [key.raw for key in trusted_keys(tmp_path)[1:]] == expected


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (lambda file: file.write_text("nothing"), "not a public key"),
        (lambda file: file.write_bytes(pem(Ed25519PrivateKey.generate())), "not a public key"),
        (
            lambda file: file.write_bytes(public_pem(ec.generate_private_key(ec.SECP256R1()))),
            "not an Ed25519 public key",
        ),
        (lambda file: file.chmod(0o666), "mode 0666 is open to others"),
        (
            lambda file: (file.rename(file.with_suffix(".real")), file.symlink_to(file.with_suffix(".real"))),
            "is a link",
        ),
    ],
)
def test_a_trusted_key_that_cannot_be_trusted_is_named(tmp_path, key_file, spoil, reason):
    file = tmp_path / signing.TRUSTED / "a.pub"
    file.parent.mkdir()
    file.write_bytes(public_pem(Ed25519PrivateKey.generate()))
    spoil(file)
    with pytest.raises(SigningKeyError, match=rf"\.qunlearn/trusted/a\.pub: {reason}"):
        trusted_keys(tmp_path)


def test_an_auditors_key_may_lie_anywhere_but_must_be_one(tmp_path, key_file):
    link = tmp_path / "received.pub"
    link.symlink_to(tmp_path / signing.PUBLIC)
    assert read_public_key(link) == SigningKey.load(tmp_path).public
    with pytest.raises(SigningKeyError, match="cannot be read: No such file"):
        read_public_key(tmp_path / "none.pub")
    with pytest.raises(SigningKeyError, match="not a public key"):
        read_public_key(key_file)
    os.mkfifo(tmp_path / "pipe.pub")
    with pytest.raises(SigningKeyError, match="is no regular file"):
        read_public_key(tmp_path / "pipe.pub")


def test_a_key_in_memory_shows_nothing_of_itself(tmp_path, key_file):
    key = SigningKey.load(tmp_path)
    assert base64.b64encode(bytes.fromhex(SECRET)).decode() not in repr(key)
    assert key.public.raw.hex() not in repr(key)
