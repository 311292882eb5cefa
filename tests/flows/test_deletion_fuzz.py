"""Anything at all typed after `qunlearn`: no traceback, no half request, and no answer that repeats what was typed."""

from __future__ import annotations

import io
import os
import re
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest
import small_requests as small
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from small_requests import ERASED, GONE, IDS, TRAIN

from flows import cli
from qunlearn.deletion.ledger import Ledger

SECRET = "Zoë-Qvist-1979"
"""Put into what is typed; found nowhere else."""
FEW = settings(
    max_examples=40,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
MANY = settings(FEW, max_examples=150)

Run = Callable[..., tuple[int, str]]


@pytest.fixture
def project(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder that commands run in; one request waits."""
    for name in ("MLFLOW_TRACKING_URI", "QUNLEARN_KEY", "QUNLEARN_LEDGER_URL"):
        monkeypatch.delenv(name, raising=False)
    made = small.folder_project(tmp_path / "project", small.tracking_uri(tmp_path_factory))
    monkeypatch.chdir(made)
    return made


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, project: Path) -> Run:
    """Runs `qunlearn` in this process: exit code, and all that it printed."""

    def runner(*arguments: str) -> tuple[int, str]:
        # As Python makes them in a locale of UTF-8: what is no text may be written to one, and fails in the other.
        out, err = (io.TextIOWrapper(io.BytesIO(), "utf-8", errors) for errors in ("strict", "backslashreplace"))
        with monkeypatch.context() as patch:
            for name, value in (("argv", ["qunlearn", *arguments]), ("stdout", out), ("stderr", err)):
                patch.setattr(sys, name, value)
            with pytest.raises(SystemExit) as ended:
                cli.main()
        printed, told = (_written(stream) for stream in (out, err))
        code = ended.value.code or 0
        assert code in (0, 1, 2), code
        assert "Traceback" not in told
        if code == 1:
            assert printed == ""
            assert len(told.splitlines()) == 1, told
            assert told.startswith("qunlearn: error: ")
        return int(code), printed + told

    assert runner("request", "add", "--sample", "cat/0.png")[0] == 0
    return runner


def _written(stream: io.TextIOWrapper) -> str:
    stream.flush()
    return stream.buffer.getvalue().decode()  # type: ignore[attr-defined]


def silent(told: str) -> None:
    """Not even a part of what was planted is there, nor broken over two lines of a frame."""
    plain = re.sub(r"[\s│]", "", told)
    assert not re.search(r"zo\w?-?qvist|qvist|1979", plain, re.IGNORECASE), told


def snapshot(project: Path) -> tuple[bytes, int]:
    """What the ledger holds, and how many requests."""
    ledger = Ledger.open(root=project)
    assert ledger.verify() is None
    content = repr([(event.number, event.hash) for event in ledger.events()]) + repr(ledger.requests())
    return content.encode(), len(ledger.requests())


def tried(run: Run, project: Path, *arguments: str) -> int:
    """One command; it adds one request where it ends well, and changes not one byte otherwise. The exit code."""
    file = project / ".qunlearn" / "ledger.db"
    before, stored = snapshot(project), file.read_bytes()
    code, told = run(*arguments)
    silent(told)
    after = snapshot(project)
    if code:
        assert (after, file.read_bytes()) == (before, stored)
    else:
        assert after[1] == before[1] + 1
    return code


# --- request files ---------------------------------------------------------------------------------------------------

NAMES = st.sampled_from(["cat/0.png", "s c 1", IDS[0], TRAIN[3], GONE, ERASED, "sample_id", "#", "", ",", '"', SECRET])
LINES = st.lists(st.one_of(NAMES, st.text(max_size=20)), max_size=8)
ENDS = st.sampled_from(["\n", "\r\n", "\r", "\u2028", "\n\n", "\0"])
WRITTEN = st.builds(lambda lines, end: end.join(lines), LINES, ENDS)
ENCODED = st.builds(
    lambda text, codec: text.encode(codec, errors="surrogatepass" if codec.startswith("utf") else "replace"),
    WRITTEN,
    st.sampled_from(["utf-8", "utf-8-sig", "utf-16", "latin-1"]),
)
CONTENTS = st.one_of(st.binary(max_size=80), ENCODED, st.builds(lambda a, b: a + b, ENCODED, st.binary(max_size=9)))


def check_file(run: Run, project: Path, content: bytes, suffix: str) -> None:
    (project / f"{SECRET}{suffix}").write_bytes(content)
    tried(run, project, "request", "add", "--file", f"{SECRET}{suffix}")


@FEW
@given(content=CONTENTS, suffix=st.sampled_from([".txt", ".csv", ".TXT", ""]))
def test_any_file_is_taken_in_or_refused_as_a_whole(run: Run, project: Path, content: bytes, suffix: str) -> None:
    check_file(run, project, content, suffix)


@pytest.mark.slow
@MANY
@given(content=CONTENTS, suffix=st.sampled_from([".txt", ".csv", ".TXT", ""]))
def test_many_files_are_taken_in_or_refused_as_a_whole(run: Run, project: Path, content: bytes, suffix: str) -> None:
    check_file(run, project, content, suffix)


# --- words of the command line ---------------------------------------------------------------------------------------

TODAY = f"{datetime.now(UTC):%Y-%m-%d}"
WORDS = st.one_of(
    st.text(st.characters(exclude_characters="\0", exclude_categories=()), max_size=12).map(lambda text: text + SECRET),
    st.sampled_from(["", " ", "-", "--", "cat", "dog", "7", "007", "cat/0.png", "../people.csv", "\udcff", "0" * 300]),
    st.sampled_from([SECRET, f"--{SECRET}", f"-{SECRET}", f"--due={SECRET}", f"{SECRET}.csv", f"{SECRET}/../x.txt"]),
)
DATES = st.one_of(
    st.sampled_from(
        [TODAY, "9999-12-31", "0001-01-01", "2030-02-29", "2030-1-1", "20300101", "\u0662\u0660\u0663\u0660-01-01", ""]
    ),
    WORDS,
)
OPTIONS = st.one_of(
    st.tuples(st.sampled_from(["--sample", "--class", "--group", "--file", "--reference"]), WORDS),
    st.tuples(st.just("--due"), DATES),
    st.tuples(st.sampled_from(["--json", "--help "])),
    st.tuples(WORDS),
)
LINE = st.lists(OPTIONS, max_size=5).map(lambda parts: [word for part in parts for word in part])


def check_line(run: Run, project: Path, words: list[str]) -> None:
    if "--help" in words:
        return
    tried(run, project, "request", "add", *words)


@FEW
@given(words=LINE)
@example(words=["--sample", "cat/0.png", f"--{SECRET}"])
@example(words=["--sample", "cat/0.png", "--due"])
@example(words=["--sample", "cat/0.png", f"-{SECRET}"])
@example(words=["--sample", "cat/0.png", "--json=" + SECRET])
@example(words=["--sample", "cat/0.png", "--dew", SECRET])
@example(words=["--class", "cat\udcff" + SECRET])
@example(words=["--file", "x" * 5000 + SECRET + ".txt"])
@example(words=["--file", SECRET + "\udcff.txt"])
def test_any_words_are_a_request_or_refused(run: Run, project: Path, words: list[str]) -> None:
    check_line(run, project, words)


@pytest.mark.slow
@MANY
@given(words=LINE)
def test_many_words_are_a_request_or_refused(run: Run, project: Path, words: list[str]) -> None:
    check_line(run, project, words)


COMMANDS = st.sampled_from(
    [
        ["request"],
        ["request", "show"],
        ["request", "cancel"],
        ["request", "list"],
        ["request", "hash"],
        ["request", "hash", "--subject"],
        ["request", "hash", "--reference"],
        ["ledger"],
        ["ledger", "log"],
        ["ledger", "verify"],
        ["evidence", "show"],
        ["evidence", "verify"],
        ["request", "cancel", "r-0123456789abcdef", "--reason"],
        ["request", "list", "--params"],
    ]
)


def check_other(run: Run, project: Path, command: list[str], words: list[str]) -> None:
    before = snapshot(project)
    code, told = run(*command, *words)
    if command[0] == "request" and "--params" not in command:
        silent(told)
    assert snapshot(project) == before
    assert code or told


@FEW
@given(command=COMMANDS, words=st.lists(WORDS, max_size=3))
def test_other_commands_change_nothing(run: Run, project: Path, command: list[str], words: list[str]) -> None:
    check_other(run, project, command, words)


@pytest.mark.slow
@MANY
@given(command=COMMANDS, words=st.lists(WORDS, max_size=3))
def test_other_commands_change_nothing_whatever_is_typed(
    run: Run, project: Path, command: list[str], words: list[str]
) -> None:
    check_other(run, project, command, words)


# --- what the system does while a request is taken in ----------------------------------------------------------------


@pytest.mark.parametrize("place", [".qunlearn", ".qunlearn/ledger.db", ".qunlearn/identity.key", "data", "."])
def test_a_closed_place_is_told(run: Run, project: Path, place: str) -> None:
    """Taken away from its owner, and root is bound by that, too."""
    import permission_bits

    mode, before = os.stat(place).st_mode, snapshot(project)
    os.chmod(place, 0)
    try:
        with permission_bits.binding():
            code, told = run("request", "add", "--sample", "cat/1.png")
    finally:
        os.chmod(place, mode)
    assert code == 1, told
    assert snapshot(project) == before
    assert run("request", "add", "--sample", "cat/1.png")[0] == 0
