"""`qunlearn release`: which models may be served, and that nothing changes where one may not."""

from __future__ import annotations

import sys

import pytest
from deletion_project import run
from filelock import FileLock

from flows import cli
from flows.services import folder
from qunlearn.data.erased import append_erased
from qunlearn.deletion.purge_errors import PurgeError
from qunlearn.deletion.states import Outcome, State
from tasks.cells import CellContext
from tasks.deletion import course
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


# --- while a deletion is past its promotion --------------------------------------------------------------------------


class Killed(BaseException):
    """The process ends here."""


def die(params_file, batch):
    raise Killed


def killed_before(served, monkeypatch, step):
    """Let a deletion run die right before a step; the request, and the deletion's own model."""
    request = served.ask(*served.training_ids[:3])
    with monkeypatch.context() as patch:
        patch.setattr(course, step, die)
        with pytest.raises(Killed):
            run(served)
    return request, served.champion


@pytest.mark.parametrize(
    ("step", "state"),
    [("erase_samples", State.PROMOTED), ("purge_batch", State.PROMOTED), ("complete_batch", State.PURGED)],
)
def test_between_promotion_and_completion_no_other_model_is_released(served, release, monkeypatch, step, state):
    old, other = served.champion.model_id, another(served)
    request, own = killed_before(served, monkeypatch, step)
    assert served.now(request).state is state
    for target in (old, other):
        code, out, err = release(target)
        assert (code, out, served.champion) == (1, "", own)
        assert err.splitlines()[-1].startswith("qunlearn: error: ")
    code, out, _ = release(own.model_id)
    assert (code, served.champion) == (0, own)
    assert run(served) == "1 request done, 0 rejected; 3 samples unlearned"
    assert (served.now(request).outcome, served.champion) == (Outcome.UNLEARNED, own)


def test_the_refusal_names_the_deletion_and_the_way_out(served, release, monkeypatch):
    old = served.champion.model_id
    request, own = killed_before(served, monkeypatch, "erase_samples")
    _, _, err = release(old)
    assert f"the deletion {served.now(request).batch} has served its model {own.model_id} and is promoted" in err
    assert "let `python -m flows.deletion` end it" in err


def test_a_deletion_whose_model_was_replaced_all_the_same_ends_after_its_model_is_released_again(
    served, release, monkeypatch, tmp_path
):
    request, own = killed_before(served, monkeypatch, "erase_samples")
    served.store.set_champion(1)  # as whoever moves the alias in MLflow, or releases with an earlier version
    for _ in range(2):
        with pytest.raises(PurgeError, match="it is served, and was trained on 3 of the erased samples"):
            run(served)
        assert served.now(request).state is State.PROMOTED
    # As docs/operations.md says: the refusal names the model that leads out.
    assert f"has served its model {own.model_id} and is promoted" in release(served.champion.model_id)[2]
    code, out, _ = release(own.model_id)
    assert (code, served.champion) == (0, own)
    assert out.startswith("qunlearn-served version 2 is served, in place of version 1")
    assert run(served) == "1 request done, 0 rejected; 3 samples unlearned"
    assert not set(served.made(tmp_path).trained_ids) & set(request.asked.samples)
    assert served.ledger.verify() is None


def test_before_the_promotion_a_release_is_free_and_the_deletion_begins_anew(served, release, monkeypatch):
    other = another(served)
    request, _ = killed_before(served, monkeypatch, "promote_candidate")
    assert served.now(request).state is State.VERIFIED
    assert release(other)[0] == 0
    assert run(served).endswith("; 1 request done, 0 rejected; 3 samples unlearned")


def test_a_release_makes_no_ledger(served, release):
    assert release(another(served))[0] == 0
    assert not (served.root / ".qunlearn" / "ledger.db").exists()
