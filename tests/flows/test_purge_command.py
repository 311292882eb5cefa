"""`qunlearn purge`: what a person sees, in text and as JSON, and when it refuses."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from datetime import date
from pathlib import Path

import pytest
from filelock import FileLock
from purge_project import Project, copied, leave_behind

from flows import cli
from flows.services import folder
from qunlearn.deletion.ledger import Asked, Ledger, State, Worker
from tasks.purge_notes import Notes

TABLE = ["action", "kind", "name", "digest", "place", "and", "reason"]


@pytest.fixture
def erased(tmp_path, monkeypatch) -> Project:
    """A project whose champion has unlearned the samples in `data/erased.txt`."""
    (tmp_path / "temporary").mkdir()
    made = copied(tmp_path / "copy")
    made.erase()
    # No test may look at temporary folders of other programs.
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    monkeypatch.setenv("DVC_SITE_CACHE_DIR", str(tmp_path / "site"))
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    return made


@pytest.fixture
def run(erased, monkeypatch, capsys):
    """Runs `qunlearn purge` in this process: (exit code, stdout, stderr)."""

    def runner(*arguments: str) -> tuple[int, str, str]:
        words = ["qunlearn", "purge", *arguments, "--params", str(erased.root / "params.yaml")]
        monkeypatch.setattr(sys, "argv", words)
        with pytest.raises(SystemExit) as ended:
            cli.main()
        captured = capsys.readouterr()
        return int(ended.value.code or 0), captured.out, captured.err

    return runner


def data_digest(project: Project) -> bytes:
    return (project.workspace.prepared / "ids.txt").read_bytes()


def test_a_dry_run_lists_everything_and_changes_nothing(erased, run):
    before = data_digest(erased)
    code, out, _ = run("--dry-run")
    lines = out.splitlines()
    assert code == 0
    assert lines[0].split() == TABLE
    assert lines[1].startswith("rewrite  data ")
    assert "holds 5 erased samples; the others stay" in lines[1]
    assert sum(line.startswith("remove   model ") for line in lines) == 6
    assert any(line.startswith("outside  git history") for line in lines)
    assert lines[-1] == f"{len(lines) - 2 - 6} things to do, 6 outside; nothing was changed."
    assert data_digest(erased) == before
    assert not any(one in out for one in erased.gone)


def test_json_has_every_field_of_every_entry(run):
    code, out, _ = run("--dry-run", "--json")
    entries = json.loads(out)["entries"]
    assert code == 0
    assert all(entry.keys() == {"kind", "name", "digest", "place", "action", "why", "target"} for entry in entries)
    assert {entry["action"] for entry in entries} == {"rewrite", "remove", "outside"}


def test_the_purge_tells_what_it_did_and_what_it_searched(erased, run):
    code, out, err = run()
    last = out.splitlines()[-1]
    assert (code, err) == (0, "")
    assert "a search of " in last
    assert "found nothing. Outside, see above: 6 things." in last
    assert not set(erased.gone) & set(data_digest(erased).decode().split())
    assert not (erased.root / ".qunlearn" / "purge.json").exists()
    code, out, _ = run("--json")
    report = json.loads(out)
    assert [entry["action"] for entry in report["entries"]] == ["outside"] * 6
    assert report["scan"]["found"] == []


@pytest.mark.parametrize(("option", "action"), [("--quarantine", "quarantine"), ("--no-quarantine", "remove")])
def test_models_of_the_benchmark_go_where_the_option_says(erased, run, option, action):
    _, out, _ = run("--dry-run", "--json", option)
    actions = {entry["target"]: entry["action"] for entry in json.loads(out)["entries"] if entry["kind"] == "model"}
    assert actions[erased.models["retrain"]] == action
    assert actions[erased.models["original"]] == "remove"


def test_what_is_left_ends_with_an_error(erased, run, monkeypatch):
    leave_behind(erased, monkeypatch)
    code, out, _ = run()
    assert code == 1
    assert "objects still found:\n  data/splits, notes.txt: holds 1 erased id\nRun the purge again" in out
    assert (erased.root / ".qunlearn" / "purge.json").exists()


def test_a_deletion_at_work_keeps_it_away(erased, run):
    folder(erased.root).mkdir()
    with FileLock(folder(erased.root) / "served-model.lock"):
        code, out, err = run()
        assert (code, out) == (1, "")
        assert err == (
            "qunlearn: error: a deletion, a purge, a release or a refresh of the benchmark is at work on the served "
            "model; let it end first\n"
        )
        # Looking does no harm.
        assert run("--dry-run")[0] == 0


def test_a_refusal_is_one_line(erased, run):
    erased.store.set_champion(1)
    code, out, err = run()
    assert (code, out) == (1, "")
    assert err.startswith("qunlearn: error: MLflow, model m-")
    assert err.count("\n") == 1
    assert not any(one in err for one in erased.gone)


def test_without_erased_samples_there_is_nothing_to_do(erased, run):
    erased.workspace.erased.write_text("# none\n")
    assert run("--dry-run")[1].splitlines()[-1] == "0 things to do, 0 outside; nothing was changed."
    code, out, _ = run()
    assert (code, out) == (0, "Nothing is erased yet.\n")


@pytest.mark.slow
def test_help_does_not_wait_for_anything_heavy():
    heavy = ("torch", "mlflow", "dvc")
    code = f"import sys, flows.commands.purge; sys.exit(any(name in sys.modules for name in {heavy}))"
    root = Path(__file__).parents[2]
    assert subprocess.run([sys.executable, "-c", code], cwd=root).returncode == 0


def test_notes_stay_for_a_deletion_that_was_cut_short(erased, run):
    ledger = Ledger.open(root=erased.root)
    ledger.add(Asked("sample", ("all-000001-0123456789ab",), (), None, None, date(2026, 1, 1)))
    batch = ledger.claim(Worker.current())
    code, _, _ = run()
    assert code == 0
    notes = Notes.read(erased.root)
    assert notes is not None
    assert notes.finished
    assert notes.entries
    ledger.advance(batch, State.RECEIVED, reason="as a test")
    assert run()[0] == 0
    assert Notes.read(erased.root) is None
