"""Who is named in a request is in no file that a deletion leaves, and neither is a key, but in its own file."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Iterator
from pathlib import Path

import deletion_project
import numpy as np
import pytest
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, load_pem_private_key
from deletion_project import Served
from prefect.logging import disable_run_logger
from prefect.settings import PREFECT_API_URL, temporary_settings
from security import people
from security.planted import find
from typer.testing import CliRunner

from flows import deletion as flow_module
from flows.cli import app
from flows.errors import is_ours
from qunlearn.deletion.identity import Key

Command = Callable[..., tuple[int, str]]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    with pytest.MonkeyPatch.context() as patch:
        for name in deletion_project.ENVIRONMENT:
            patch.delenv(name, raising=False)
        return people.built(tmp_path_factory.mktemp("trained") / "project")


@pytest.fixture
def project(trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A copy, on which the flow runs as plain functions."""
    for name in deletion_project.ENVIRONMENT:
        monkeypatch.delenv(name, raising=False)
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "temporary"))
    deletion_project.plain_steps(monkeypatch.setattr)
    with disable_run_logger(), temporary_settings(restore_defaults={PREFECT_API_URL}):
        yield deletion_project.copied(trained, tmp_path / "project")


@pytest.fixture
def qunlearn(project: Path, monkeypatch: pytest.MonkeyPatch) -> Command:
    """Runs the command in the project; exit code and all that a terminal would show."""
    monkeypatch.chdir(project)

    def run(*arguments: object) -> tuple[int, str]:
        result = CliRunner().invoke(app, [str(argument) for argument in arguments])
        text = result.stdout + result.stderr
        if isinstance(result.exception, ValueError):
            assert is_ours(result.exception)
            text += f"qunlearn: error: {result.exception}"
        return result.exit_code, text

    return run


def ask(qunlearn: Command, folder: Path) -> str:
    """Make all requests; what was printed."""
    printed = []
    for code, words in people.commands(people.request_file(folder)):
        found, text = qunlearn("request", *words)
        assert found == code, text
        printed.append(text)
    return "\n".join(printed)


def number_in(folder: Path) -> list[str]:
    """Files that hold the subject as NumPy writes a whole number."""
    raw = np.int64(people.SUBJECT).tobytes()
    return [path.name for path in folder.rglob("*") if path.is_file() and raw in path.read_bytes()]


def test_after_a_deletion_only_the_raw_data_name_anybody(project, qunlearn, tmp_path, caplog, capfd):
    caplog.set_level(logging.DEBUG)
    assert number_in(project) == ["subjects.npy"]
    served = Served(project)
    printed = [ask(qunlearn, tmp_path / "inbox")]
    printed.append(flow_module.deletion.fn(served.params_file).message)
    assert printed[-1].startswith("3 requests done, 0 rejected")
    assert len(served.erased) == 4
    for request in served.ledger.requests():
        printed += [qunlearn(*words, request.id)[1] for words in (["request", "show"], ["evidence", "show"])]
    printed += [qunlearn(*words)[1] for words in (["request", "list"], ["ledger", "verify"], ["purge", "--dry-run"])]
    screen = capfd.readouterr()
    shown = {"printed": "\n".join(printed), "log": caplog.text, "stdout": screen.out, "stderr": screen.err}
    assert "evidence" in shown["printed"]
    assert served.champion.version == 2

    found = find([project, tmp_path / "temporary"], people.PLANTED, others=shown)
    # They are not in our custody, and the purge says so.
    assert {place for place, _ in found} == people.raw(project)
    told = " | ".join(served.evidence(served.ledger.requests()[0]).outside_custody)
    assert all(name in told for name in ("data.root", "data.metadata")), told
    assert number_in(project) == []


def test_keys_are_in_no_other_file(project, qunlearn, tmp_path, caplog, capfd):
    caplog.set_level(logging.DEBUG)
    served = Served(project)
    printed = ask(qunlearn, tmp_path / "inbox")
    flow_module.deletion.fn(served.params_file)
    identity, signing = project / ".qunlearn" / "identity.key", project / ".qunlearn" / "signing.key"
    digits = identity.read_text().strip()
    key = load_pem_private_key(signing.read_bytes(), None)
    private = key.private_bytes(Encoding.Raw, PrivateFormat.Raw, NoEncryption())
    screen = capfd.readouterr()
    shown = {"printed": printed, "log": caplog.text, "stdout": screen.out, "stderr": screen.err}
    assert find([project], [digits, bytes.fromhex(digits)], others=shown) == {
        (str(identity), digits),
        (str(identity), bytes.fromhex(digits)),
    }
    assert {place for place, _ in find([project], [private], others=shown)} == {str(signing)}


# --- the search would see it -----------------------------------------------------------------------------------------

LEAKS = {
    "hash without a key": lambda _self, _purpose, text: hashlib.sha256(text.encode()).hexdigest(),
    "hash that is none": lambda _self, _purpose, text: text.encode().hex().ljust(64, "0")[:64],
}


@pytest.mark.parametrize("leak", LEAKS)
def test_a_keyed_hash_that_is_none_would_be_seen(project, qunlearn, tmp_path, monkeypatch, leak):
    monkeypatch.setattr(Key, "hashed", LEAKS[leak])
    ask(qunlearn, tmp_path / "inbox")
    found = {place for place, _ in find([project], people.PLANTED)} - people.raw(project)
    assert str(project / ".qunlearn" / "ledger.db") in found


def test_a_name_in_a_record_of_a_run_would_be_seen(project):
    connection = Served(project).store.connection
    first = next(iter(connection.runs("")))
    connection.client.set_tag(first.info.run_id, "note", f"asked by {people.TYPED}")
    found = {Path(place).name for place, _ in find([project], people.PLANTED)} - {"people.csv", f"{people.PATH}.png"}
    assert found == {"mlflow.db"}
