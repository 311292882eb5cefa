"""Files that name samples: what is read, what is refused, and that nothing of them is repeated."""

import os
import time
import tracemalloc

import pytest

from qunlearn.deletion import names
from qunlearn.deletion.names import IntakeError, read_names


@pytest.fixture
def write(tmp_path):
    def writer(content, name="jane-doe.txt"):
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return writer


def refusal(path):
    """Why the file is refused; neither its name nor its content is in it."""
    with pytest.raises(IntakeError) as error:
        list(read_names(path))
    assert "jane" not in str(error.value)
    assert error.value.__suppress_context__ or error.value.__context__ is None
    return str(error.value)


def test_a_text_file_has_one_name_a_line(write):
    path = write("\ufeff# asked on Monday\r\n\r\n  a \r\n   # more\r\nb\r\n\tc d\n\na")
    assert list(read_names(path)) == [(3, "a"), (5, "b"), (6, "c d"), (8, "a")]


def test_control_characters_and_other_spaces_are_part_of_a_name(write):
    assert list(read_names(write("a\x1f\n\u00a0b\nc\x0cd\n"))) == [(1, "a\x1f"), (2, "\u00a0b"), (3, "c\x0cd")]


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("sample_id\na\nb\n", [(2, "a"), (3, "b")]),
        ("name,Sample_ID\njane,a\njohn,b\n", [(2, "a"), (3, "b")]),
        ("file,sample_id\nx/1.png,a\n", [(2, "a")]),
        ("file,subject\nx/1.png,7\n", [(2, "x/1.png")]),
        ("id,reason\na,moved away\n", [(2, "a")]),
        ("a,jane\nb,john\n", [(1, "a"), (2, "b")]),
        ("a\nb\n", [(1, "a"), (2, "b")]),
        ("# exported\n\n,,\nsample_id,why\n  a  ,\n", [(5, "a")]),
        ('sample_id,address\na,"a street\na town"\nb,\n', [(3, "a"), (4, "b")]),
        ('"a,b",x\n', [(1, "a,b")]),
        ("name,sample_id\njane\n,\njane,a\n", [(2, ""), (4, "a")]),
        ("\ufeffsample_id\na\n", [(2, "a")]),
    ],
)
def test_a_table_has_names_in_a_column(write, content, expected):
    assert list(read_names(write(content, "jane-doe.csv"))) == expected


@pytest.mark.parametrize("content", ['sample_id\n"a\n', 'a\n"b"c\n', "a\rb\rc\n", 'sample_id\n"' + "jane\n" * 40_000])
def test_a_broken_table_is_refused(write, content):
    assert "no table with commas" in refusal(write(content, "jane-doe.csv"))


@pytest.mark.parametrize("content", ["", "\n  \n", "# jane\n  # doe\n", "\ufeff", "\r\n\t\r\n"])
@pytest.mark.parametrize("kind", ["txt", "csv", "TXT"])
def test_a_file_that_names_nothing_is_refused(write, content, kind):
    assert "names no sample" in refusal(write(content, f"jane-doe.{kind}"))


def test_a_table_with_only_a_header_is_refused(write):
    assert "names no sample" in refusal(write("sample_id\n", "jane-doe.csv"))


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"\x89PNG\r\n\x1a\n\x00\x00", "line 1 is not UTF-8"),
        (b"a\n\x00\x01", "line 2 holds a zero byte"),
        ("a\njané\n".encode("latin-1"), "line 2 is not UTF-8"),
        ("jane\n".encode("utf-16"), "line 1 holds a zero byte"),
        (bytes(200_000), "line 1 holds a zero byte"),
        (b"a\n" + b"x" * 65_537, "line 2: longer than 65,536 bytes"),
        (b"a\n" + b"x" * 65_536 + b"\n", "line 2: longer than 65,536 bytes"),
    ],
)
@pytest.mark.parametrize("kind", ["txt", "csv"])
def test_what_is_no_text_is_refused(write, content, reason, kind):
    assert reason in refusal(write(content, f"jane-doe.{kind}"))


def test_a_line_may_be_as_long_as_that(write):
    assert list(read_names(write(b"x" * 65_535 + b"\n"))) == [(1, "x" * 65_535)]


@pytest.mark.parametrize("name", ["jane-doe", "jane-doe.pdf", "jane-doe.txt.gz", ".csv"])
def test_another_kind_of_file_is_refused(write, name):
    assert "must be a .txt file" in refusal(write("a\n", name))


def test_more_lines_than_the_limit_are_refused(write, monkeypatch):
    monkeypatch.setattr(names, "MOST_LINES", 3)
    assert len(list(read_names(write("a\nb\nc\n")))) == 3
    assert "more than 3 lines" in refusal(write("a\n#\n\nd\n"))


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda _path: None, "No such file"),
        (os.mkdir, "no regular file"),
        (os.mkfifo, "no regular file"),
        (lambda path: path.symlink_to(path), "symbolic links"),
        (lambda path: path.symlink_to("/dev/null"), "no regular file"),
        (lambda path: path.symlink_to(path.parent / "nowhere"), "No such file"),
    ],
    ids=["missing", "folder", "pipe", "link loop", "device", "dangling link"],
)
def test_what_is_no_file_is_refused_at_once(tmp_path, make, reason):
    path = tmp_path / "jane-doe.txt"
    make(path)
    begun = time.monotonic()
    assert reason in refusal(path)
    assert time.monotonic() - begun < 1.0


def test_a_link_to_a_good_file_is_followed(write, tmp_path):
    (tmp_path / "link.txt").symlink_to(write("a\n"))
    assert list(read_names(tmp_path / "link.txt")) == [(1, "a")]


def test_a_file_without_permission_is_refused(write):
    path = write("a\n")
    path.chmod(0)
    if os.geteuid() != 0:
        assert "Permission denied" in refusal(path)
        return
    # For root no file is closed.
    os.seteuid(65534)
    try:
        assert "Permission denied" in refusal(path)
    finally:
        os.seteuid(0)


def test_a_disk_that_fails_while_it_is_read_is_told():
    class Failing:
        def readline(self, _size):
            raise OSError(5, "Input/output error")

    with pytest.raises(IntakeError, match="Input/output error"):
        names._next_line(Failing())


def test_the_file_is_closed_when_it_is_refused(write):
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(5):
        refusal(write(b"a\n\xff\n"))
    assert len(os.listdir("/proc/self/fd")) == before


def test_reading_keeps_no_line(write):
    path = write("".join(f"name-{n}\n" for n in range(100_000)))
    tracemalloc.start()
    try:
        for _ in read_names(path):
            pass
        assert tracemalloc.get_traced_memory()[1] < 1_000_000
    finally:
        tracemalloc.stop()
