from __future__ import annotations

import hashlib
import threading
import time

import pytest

from qunlearn.data.erased import append_erased, digest, lock, read_erased


def test_appended_ids_are_read_back_and_repeated_ones_are_not_written_again(tmp_path):
    path = tmp_path / "erased.txt"
    assert append_erased(path, ["b", "a", "b"]) == ("a", "b")
    assert append_erased(path, ["a", "c"]) == ("c",)
    assert append_erased(path, ["a"]) == ()
    assert path.read_text() == "a\nb\nc\n"
    assert read_erased(path) == {"a", "b", "c"}


def test_appending_keeps_every_earlier_byte(tmp_path):
    path = tmp_path / "erased.txt"
    path.write_text("# erased samples, one id a line\n\nall-000001-abc\n")
    before = path.read_bytes()
    append_erased(path, ["x"])
    assert path.read_bytes() == before + b"x\n"
    assert read_erased(path) == {"all-000001-abc", "x"}


def test_a_last_line_without_line_break_does_not_fuse_with_the_next_id(tmp_path):
    path = tmp_path / "erased.txt"
    path.write_text("a")
    append_erased(path, ["b"])
    assert path.read_text() == "a\nb\n"


def test_an_empty_file_means_nothing_was_erased(tmp_path):
    path = tmp_path / "erased.txt"
    path.touch()
    assert read_erased(path) == frozenset()
    assert digest(path) == hashlib.sha256(b"").hexdigest()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"\x89PNG\xff\xfe\x00", r"erased\.txt: not a text file"),
        (b"a\nb\x00c\n", r"erased\.txt, line 2: .* is not a sample id"),
        (b"a\nb c\n", r"erased\.txt, line 2: 'b c' is not a sample id"),
        (b"someone@example.org\n", r"line 1: 'someone@example.org' is not a sample id"),
        (b"x" * 200, "is not a sample id"),
    ],
)
def test_bad_content_is_refused_and_left_alone(tmp_path, content, message):
    path = tmp_path / "erased.txt"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=message):
        read_erased(path)
    with pytest.raises(ValueError, match=message):
        append_erased(path, ["z"])
    assert path.read_bytes() == content


@pytest.mark.parametrize("reader", [read_erased, digest])
def test_a_missing_file_is_named(tmp_path, reader):
    with pytest.raises(ValueError, match=r"gone\.txt: No such file"):
        reader(tmp_path / "gone.txt")


def test_an_id_that_would_break_the_file_is_not_appended(tmp_path):
    path = tmp_path / "erased.txt"
    append_erased(path, ["a"])
    with pytest.raises(ValueError, match="is not a sample id"):
        append_erased(path, ["b", "c\nd"])
    assert path.read_text() == "a\n"


def test_the_lock_excludes_other_writers_and_its_holder_may_append(tmp_path):
    path = tmp_path / "erased.txt"
    order = []

    def writer() -> None:
        append_erased(path, ["other"])
        order.append("other")

    with lock(path):
        thread = threading.Thread(target=writer)
        thread.start()
        append_erased(path, ["holder"])
        time.sleep(0.1)
        order.append("holder")
    thread.join(10)
    assert order == ["holder", "other"]
    assert path.read_text() == "holder\nother\n"


def test_waiting_for_the_lock_ends_with_a_message(tmp_path):
    path = tmp_path / "erased.txt"
    problems = []

    def waiter() -> None:
        try:
            with lock(path, timeout=0.05):
                pass
        except TimeoutError as error:
            problems.append(str(error))

    with lock(path):
        thread = threading.Thread(target=waiter)
        thread.start()
        thread.join(10)
    assert len(problems) == 1
    assert "held by another process" in problems[0]


def test_writers_at_the_same_time_lose_nothing(tmp_path):
    path = tmp_path / "erased.txt"
    threads = [threading.Thread(target=append_erased, args=(path, [f"id{k}", "shared"])) for k in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert sorted(path.read_text().split()) == sorted([*(f"id{k}" for k in range(8)), "shared"])
