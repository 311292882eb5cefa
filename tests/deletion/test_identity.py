"""Keyed hashes of what names a person, and the file that holds the key."""

import hashlib
import hmac
import os
import stat
import subprocess
import sys
import unicodedata
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qunlearn.deletion.identity import FILE, HASHED, IdentityError, Key

SECRET = "ab" * 32
KEY = Key(bytes.fromhex(SECRET))
PERSON = "jane.doe@example.org"


@pytest.fixture(autouse=True)
def _no_key_in_the_environment(monkeypatch):
    monkeypatch.delenv("QUNLEARN_KEY", raising=False)


def write(root, content=f"{SECRET}\n", mode=0o600):
    path = root / FILE
    path.parent.mkdir(exist_ok=True)
    path.write_text(content)
    path.chmod(mode)
    return path


@pytest.mark.parametrize("text", [PERSON, "0", "7"])
def test_the_hash_is_hmac_sha256_over_purpose_and_text(text):
    expected = hmac.new(bytes.fromhex(SECRET), b"qunlearn/subject\0" + text.encode(), hashlib.sha256).hexdigest()
    assert KEY.hashed("subject", text) == expected


@given(text=st.text(min_size=1).filter(lambda text: unicodedata.normalize("NFC", text).strip()))
def test_any_text_has_one_hash_for_each_purpose_that_does_not_hold_it(text):
    hashes = [KEY.hashed(purpose, text) for purpose in ("subject", "reference", "sample")]
    assert len(set(hashes)) == 3
    assert all(HASHED.fullmatch(one) for one in hashes)
    assert hashes[0] == KEY.hashed("subject", f" {unicodedata.normalize('NFD', text)}\n")


def test_another_key_gives_another_hash():
    assert KEY.hashed("subject", PERSON) != Key(bytes(32)).hashed("subject", PERSON)


@pytest.mark.parametrize(("one", "other"), [("7", "007"), ("0", "000"), ("Zoe\u0308", "Zoë"), (PERSON, f"\t{PERSON} ")])
def test_ways_to_write_one_subject_are_one(one, other):
    assert KEY.hashed("subject", one) == KEY.hashed("subject", other)


@pytest.mark.parametrize(("one", "other"), [("7", "70"), ("7a", "07a"), ("Jane", "jane"), ("a", "b")])
def test_other_subjects_are_others(one, other):
    assert KEY.hashed("subject", one) != KEY.hashed("subject", other)


def test_zeros_before_a_reference_mean_something():
    assert KEY.hashed("reference", "7") != KEY.hashed("reference", "007")


@pytest.mark.parametrize("text", ["", " \t\n", "\u00a0"])
def test_an_empty_text_names_nobody(text):
    with pytest.raises(IdentityError, match="the reference is empty"):
        KEY.hashed("reference", text)


def test_bytes_that_are_no_text_are_refused():
    with pytest.raises(IdentityError, match="not text in UTF-8") as error:
        KEY.hashed("subject", os.fsdecode(b"jane\xff"))
    assert "jane" not in str(error.value)


def test_the_key_is_in_no_representation():
    assert SECRET not in repr(KEY)
    assert repr(KEY.secret) not in repr(KEY)


def test_the_key_of_the_environment_wins(tmp_path, monkeypatch):
    write(tmp_path, "cd" * 32)
    monkeypatch.setenv("QUNLEARN_KEY", SECRET.upper())
    assert Key.load(tmp_path) == KEY


@pytest.mark.parametrize("value", ["", "ab", SECRET + "a", "x" * 64, f"{SECRET}\n"])
def test_a_wrong_key_in_the_environment_is_refused_and_not_shown(tmp_path, monkeypatch, value):
    monkeypatch.setenv("QUNLEARN_KEY", value)
    with pytest.raises(IdentityError, match="QUNLEARN_KEY: must be 64 hexadecimal digits") as error:
        Key.load(tmp_path)
    assert not value or value not in str(error.value)
    assert not (tmp_path / FILE).exists()


def test_a_key_is_made_once_for_its_owner_alone(tmp_path):
    made = Key.load(tmp_path)
    assert len(made.secret) == 32
    assert Key.load(tmp_path) == made
    assert stat.S_IMODE((tmp_path / FILE).stat().st_mode) == 0o600
    assert stat.S_IMODE((tmp_path / FILE).parent.stat().st_mode) == 0o700
    assert os.listdir((tmp_path / FILE).parent) == [FILE.name]
    assert Key.load(tmp_path / "another") != made


def test_the_rights_of_a_new_key_do_not_depend_on_the_umask(tmp_path):
    before = os.umask(0)
    try:
        Key.load(tmp_path)
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / FILE).stat().st_mode) == 0o600


def test_processes_that_make_the_key_at_once_agree_on_one(tmp_path):
    code = (
        "import sys; from pathlib import Path; from qunlearn.deletion.identity import Key\n"
        "sys.stdin.readline(); print(Key.load(Path(sys.argv[1])).secret.hex())"
    )
    started = [
        subprocess.Popen(
            [sys.executable, "-c", code, tmp_path], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        for _ in range(4)
    ]
    with ThreadPoolExecutor(4) as pool:
        keys = list(pool.map(lambda process: process.communicate("go\n", timeout=60)[0].strip(), started))
    assert set(keys) == {Key.load(tmp_path).secret.hex()}
    assert os.listdir((tmp_path / FILE).parent) == [FILE.name]


def test_threads_that_make_the_key_at_once_agree_on_one(tmp_path):
    with ThreadPoolExecutor(16) as pool:
        assert len({key.secret for key in pool.map(lambda _: Key.load(tmp_path), range(64))}) == 1


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o644, 0o620, 0o777])
def test_a_key_that_others_have_rights_to_is_refused(tmp_path, mode):
    write(tmp_path, mode=mode)
    with pytest.raises(IdentityError, match=rf"mode 0{mode:o} is open to others; run chmod 0"):
        Key.load(tmp_path)


@pytest.mark.parametrize(
    "content", ["", SECRET[:-1], SECRET + "0", "x" * 64, f"{SECRET}\n{SECRET}", "é" * 64, "\0" * 64]
)
def test_a_file_that_holds_no_key_is_refused_and_left_alone(tmp_path, content):
    path = write(tmp_path, content)
    with pytest.raises(IdentityError, match="must be 64 hexadecimal digits") as error:
        Key.load(tmp_path)
    assert SECRET[:-1] not in str(error.value)
    assert path.read_text() == content


def test_a_link_is_refused_even_to_a_good_key(tmp_path):
    good = tmp_path / "good.key"
    good.write_text(SECRET)
    good.chmod(0o600)
    (tmp_path / FILE).parent.mkdir()
    (tmp_path / FILE).symlink_to(good)
    with pytest.raises(IdentityError, match="is a link"):
        Key.load(tmp_path)


def test_a_link_into_nothing_is_refused_and_not_followed(tmp_path):
    (tmp_path / FILE).parent.mkdir()
    (tmp_path / FILE).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(IdentityError, match="is a link"):
        Key.load(tmp_path)
    assert not (tmp_path / "elsewhere").exists()


@pytest.mark.parametrize("make", [os.mkdir, os.mkfifo])
def test_what_is_no_regular_file_is_refused_at_once(tmp_path, make):
    (tmp_path / FILE).parent.mkdir()
    make(tmp_path / FILE)
    with pytest.raises(IdentityError, match=r"no ordinary file|Is a directory"):
        Key.load(tmp_path)


def test_a_place_where_no_key_can_be_made_is_told(tmp_path):
    (tmp_path / FILE).parent.write_text("a file where the folder should be")
    with pytest.raises(IdentityError, match=r"identity\.key: .*or set QUNLEARN_KEY"):
        Key.load(tmp_path)


def test_a_key_that_cannot_be_written_leaves_nothing_behind(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(IdentityError, match="No space left"):
            Key.load(tmp_path)
    assert os.listdir((tmp_path / FILE).parent) == []
