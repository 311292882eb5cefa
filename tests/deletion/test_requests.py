"""Request files: what is read, what is refused and where a decided request goes."""

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from qunlearn.deletion import RequestError, finish, pending, read_request, reject

KNOWN = frozenset({"train-000001-aa", "train-000002-bb", "test-000003-cc"})


@pytest.fixture
def write(tmp_path):
    def writer(content, name="a.txt"):
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return writer


def test_ids_are_read_once_each_in_the_order_of_the_file(write):
    path = write("test-000003-cc\ntrain-000001-aa\ntest-000003-cc\n")
    assert read_request(path, known=KNOWN).ids == ("test-000003-cc", "train-000001-aa")


def test_blank_lines_comments_spaces_and_foreign_line_ends_are_allowed(write):
    path = write("\ufeff# asked on Monday\r\n\r\n  train-000001-aa \r\n   # end\r\ntrain-000002-bb")
    assert read_request(path, known=KNOWN).ids == ("train-000001-aa", "train-000002-bb")


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "names no sample"),
        (b"\n  \n# only words\n", "names no sample"),
        (b"\x89PNG\r\n\x1a\n\x00\x00", "not a text file: byte 0 is not UTF-8"),
        (b"train-000001-aa\n\x00\x01", "not a text file: it holds a zero byte at 16"),
        (b"train-000001-aa\nnobody\n", r"1 of 2 lines name no sample of the image set \(line 2\)"),
        (b"train-000001-aa train-000002-bb\n", r"1 of 1 lines"),
        (b"train-000001\n", r"1 of 1 lines"),
        (b"x\n" * 30, r"line 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, \.\.\.\)"),
    ],
)
def test_a_request_that_cannot_be_understood_is_refused_as_a_whole(write, content, reason):
    with pytest.raises(RequestError, match=reason):
        read_request(write(content), known=KNOWN)


def test_a_reason_never_repeats_what_the_file_says(write):
    with pytest.raises(RequestError) as error:
        read_request(write("jane.doe@example.org\n"), known=KNOWN)
    assert "jane" not in str(error.value)


def test_only_text_files_of_the_folder_itself_are_pending(write, tmp_path):
    for name in ("b.txt", "a.txt", "note.md", "c.txt.tmp"):
        write("x", name)
    for name in ("done", "rejected", "folder.txt"):
        (tmp_path / name).mkdir()
    write("x", "done/old.txt")
    assert [path.name for path in pending(tmp_path)] == ["a.txt", "b.txt"]


def test_a_missing_folder_holds_no_request(tmp_path):
    assert pending(tmp_path / "nowhere") == []


def test_a_finished_request_lies_in_done_unchanged(write, tmp_path):
    path = write("train-000001-aa\n")
    place = finish(path)
    assert place == tmp_path / "done" / "a.txt"
    assert place.read_text() == "train-000001-aa\n"
    assert pending(tmp_path) == []


def test_a_rejected_request_lies_beside_its_reason(write, tmp_path):
    place = reject(write(b"\xff"), "not a text file")
    assert place == tmp_path / "rejected" / "a.txt"
    assert place.read_bytes() == b"\xff"
    assert (tmp_path / "rejected" / "a.reason.txt").read_text() == "not a text file\n"
    assert pending(tmp_path) == []


@pytest.mark.parametrize("move", [finish, lambda path: reject(path, "why")])
def test_an_earlier_request_of_the_same_name_is_kept(write, move):
    places = [move(write(f"{number}")) for number in range(3)]
    assert [place.name for place in places] == ["a.txt", "a-2.txt", "a-3.txt"]
    assert [place.read_text() for place in places] == ["0", "1", "2"]


def test_a_run_that_died_between_reason_and_move_leaves_the_request_pending(write, tmp_path, monkeypatch):
    path = write("nobody\n")
    with monkeypatch.context() as patch:
        patch.setattr("pathlib.Path.rename", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            reject(path, "unknown")
    assert pending(tmp_path) == [path]
    assert reject(path, "unknown") == tmp_path / "rejected" / "a.txt"


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(content=st.binary(max_size=200))
def test_any_bytes_are_either_known_ids_or_refused(tmp_path, content):
    path = tmp_path / "any.txt"
    path.write_bytes(content)
    try:
        request = read_request(path, known=KNOWN)
    except RequestError:
        return
    assert request.ids
    assert set(request.ids) <= KNOWN


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(lines=st.lists(st.sampled_from([*sorted(KNOWN), "", "# note", "   "]), max_size=20))
def test_every_named_id_is_found_whatever_lies_between(tmp_path, lines):
    path = tmp_path / "any.txt"
    path.write_text("\n".join(lines))
    named = [line for line in lines if line in KNOWN]
    if not named:
        with pytest.raises(RequestError):
            read_request(path, known=KNOWN)
    else:
        assert read_request(path, known=KNOWN).ids == tuple(dict.fromkeys(named))
