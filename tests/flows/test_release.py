"""`qunlearn release`: which models may be served, and that nothing changes where one may not."""

from __future__ import annotations

import sys

import pytest
from filelock import FileLock

from flows import cli
from flows.services import folder
from qunlearn.data.erased import append_erased
from qunlearn.deletion.states import State
from tasks.cells import CellContext
from tasks.tracking.registry import SERVED
from tasks.training import train_cell

pytestmark = pytest.mark.usefixtures("plainly")


@pytest.fixture
def release(served, monkeypatch, capsys):
    """Runs `qunlearn release` in this process: (exit code, stdout, stderr)."""

    def run(target):
        arguments = ["qunlearn", "release", target, "--params", served.params_file]
        monkeypatch.setattr(sys, "argv", arguments)
        with pytest.raises(SystemExit) as ended:
            cli.main()
        captured = capsys.readouterr()
        return int(ended.value.code or 0), captured.out, captured.err

    return run


def another(served, seed=1):
    """A second original of the pipeline; its model id."""
    with served.store.stage("pretrain", served.store.pipeline("abc", params={})) as above:
        context = CellContext(stage="pretrain", stage_run=above.id, concurrent=False)
        cell = train_cell.fn(served.workspace, context, "original", seed)
    return served.store.record_by_digest(cell.sha256).model_id


def test_the_first_release_makes_a_champion(served, release):
    client, known = served.store.connection.client, served.champion
    client.delete_registered_model(SERVED)
    assert served.store.champion() is None
    code, out, _ = release(known.model_id)
    assert code == 0
    assert out == f"qunlearn-served version 1 is served: {known.model_id}, weights {known.digest}\n"
    assert served.champion.digest == known.digest
    assert client.get_model_version(SERVED, "1").tags["origin"] == "release"


def test_another_model_takes_its_place_and_a_request_starts_from_it(served, release):
    code, out, _ = release(another(served))
    assert (code, served.champion.version) == (0, 2)
    assert "version 2 is served, in place of version 1" in out


def test_to_release_the_champion_again_changes_nothing(served, release):
    before = served.champion
    code, out, _ = release(before.model_id)
    assert (code, served.champion, served.versions()) == (0, before, 1)
    assert "in place of" not in out


@pytest.mark.parametrize("target", ["m-0123", "nothing-like-it", "../../etc/passwd"])
def test_what_is_no_model_is_refused(served, release, target):
    before = served.champion
    code, out, err = release(target)
    assert (code, out, served.champion) == (1, "", before)
    assert len(err.strip().splitlines()) == 1


def test_a_model_that_was_trained_on_erased_samples_is_refused(served, release):
    model = another(served)
    append_erased(served.workspace.erased, served.training_ids[:2])
    code, _, err = release(model)
    assert (code, served.champion.version, served.versions()) == (1, 1, 1)
    assert "trained on 2 samples that were erased since" in err
    assert served.training_ids[0] not in err


def test_damaged_weights_are_refused(served, release):
    model = another(served)
    (path,) = (served.root / "mlartifacts").rglob(f"**/{model}/**/*.safetensors")
    path.write_bytes(path.read_bytes()[:-1] + b"\0")
    code, _, err = release(model)
    assert (code, served.champion.version, served.versions()) == (1, 1, 1)
    assert "erased or damaged" in err


def test_nothing_is_released_while_a_deletion_is_at_work(served, release):
    model = another(served)
    folder(served.root).mkdir(exist_ok=True)
    with FileLock(folder(served.root) / "served-model.lock"):
        code, _, err = release(model)
    assert (code, served.champion.version) == (1, 1)
    assert "is at work on the served model" in err
    assert [one.state for one in served.ledger.requests()] == list[State]()
