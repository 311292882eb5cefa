"""What lies around a request, and is not its fault, rejects nobody; what is its fault is told in a line that fits."""

from __future__ import annotations

import shutil
from datetime import date

import deletion_project
import permission_bits
import pytest
from deletion_project import Served, run

from flows.errors import is_ours
from qunlearn.config import ConfigError
from qunlearn.deletion.ledger import Outcome, State
from qunlearn.deletion.records import LONGEST_LINE, check_line
from tasks.deletion.planning import UnusableDataError, as_reason
from tasks.tracking.registry import SERVED

pytestmark = pytest.mark.usefixtures("plainly")


def linked(path):
    aside = path.with_name(f"aside-{path.name}")
    path.rename(aside)
    path.symlink_to(aside.name)

    def mend():
        path.unlink()
        aside.rename(path)

    return mend


def missing(path):
    aside = path.with_name(f"aside-{path.name}")
    path.rename(aside)
    return lambda: aside.rename(path)


def unreadable(path):
    mode = path.stat().st_mode
    path.chmod(0)
    return lambda: path.chmod(mode)


def damaged(path):
    content = path.read_bytes()
    path.write_bytes(b"\xff")
    return lambda: path.write_bytes(content)


@pytest.mark.parametrize(
    ("harm", "place"),
    [
        (linked, "data/splits"),
        (linked, "data/prepared"),
        (linked, "data/erased.txt"),
        (missing, "data/prepared/labels.npy"),
        (missing, "data/splits/manifest.json"),
        (damaged, "data/splits/manifest.json"),
        (damaged, "data/erased.txt"),
        (damaged, "data/prepared/ids.txt"),
    ],
)
def test_data_that_cannot_be_used_stop_the_run_and_the_request_waits(served, harm, place):
    request, before = served.ask(*served.training_ids[:2]), served.champion
    mend = harm(served.root / place)
    for attempts in (1, 2):
        with pytest.raises(UnusableDataError) as refused:
            run(served)
        assert is_ours(refused.value)
        assert len(str(refused.value).splitlines()) == 1
        waiting = served.now(request)
        assert (waiting.state, waiting.attempts, waiting.outcome) == (State.RECEIVED, attempts, None)
        assert waiting.reason == UnusableDataError.reason
        assert served.champion == before
    assert [one.id for one in served.ledger.overdue(date(2040, 1, 1))] == [request.id]
    mend()
    assert run(served) == "1 request done, 0 rejected; 2 samples unlearned"
    assert served.now(request).outcome is Outcome.UNLEARNED


@pytest.mark.parametrize("place", ["data/prepared/images.npy", "data/splits/manifest.json", "data/erased.txt"])
def test_data_that_must_not_be_read_stop_the_run_and_the_request_waits(served, place):
    request = served.ask(*served.training_ids[:2])
    mend = unreadable(served.root / place)
    with permission_bits.binding(), pytest.raises(UnusableDataError, match="Permission denied"):
        run(served)
    assert served.now(request).state is State.RECEIVED
    mend()
    assert run(served) == "1 request done, 0 rejected; 2 samples unlearned"


def test_before_a_first_release_requests_wait_and_can_be_cancelled(served):
    client, champion = served.store.connection.client, served.champion
    client.delete_registered_model_alias(SERVED, "champion")
    first, second = served.ask(served.training_ids[0]), served.ask(served.training_ids[1])
    with pytest.raises(ConfigError, match="no served model that could forget anything; release one first"):
        run(served)
    assert {served.now(one).state for one in (first, second)} == {State.RECEIVED}
    served.ledger.cancel(first.id, reason="a mistake")
    client.set_registered_model_alias(SERVED, "champion", str(champion.version))
    assert run(served) == "1 request done, 0 rejected; 1 sample unlearned"


def test_beside_a_link_not_even_a_request_that_asks_for_too_much_is_rejected(served):
    good, bad = served.ask(served.training_ids[0]), served.ask(*served.split.ids("validation"))
    mend = linked(served.root / "data" / "splits")
    with pytest.raises(UnusableDataError, match="is a link"):
        run(served)
    assert {served.now(one).state for one in (good, bad)} == {State.RECEIVED}
    mend()
    assert run(served) == "1 request done, 1 rejected; 1 sample unlearned"


@pytest.mark.parametrize("name", ["no\u00a0break", "d" * 150 + "/" + "e" * 150])
def test_wherever_the_project_lies_one_bad_request_does_not_block_the_others(trained, tmp_path, name):
    folder = tmp_path / name
    folder.parent.mkdir(parents=True, exist_ok=True)
    served = Served(deletion_project.copied(trained, folder))
    good, bad = served.ask(*served.training_ids[:2]), served.ask(*served.split.ids("validation"))
    assert run(served) == "1 request done, 1 rejected; 2 samples unlearned"
    assert (served.now(good).state, served.now(bad).state) == (State.COMPLETED, State.REJECTED)
    assert served.now(bad).reason == "data/splits: all validation images would be erased; ingest more images first"
    shutil.rmtree(folder)


def test_no_event_holds_the_path_of_the_project(served):
    served.ask(*served.split.ids("validation"))
    run(served)
    assert not [event for event in served.ledger.events() if str(served.root) in event.body]


@pytest.mark.parametrize("text", ["two\nlines", "no\u00a0break", "\u202ereversed", "x" * 2000, "tab\t" * 300])
def test_whatever_an_error_says_the_ledger_takes_it_as_a_reason(text, tmp_path):
    reason = as_reason(f"{tmp_path}/{text}", root=tmp_path)
    assert check_line(reason, "the reason") == reason
    assert str(tmp_path) not in reason


def test_a_reason_that_is_cut_says_so(tmp_path):
    reason = as_reason("x" * 2000, root=tmp_path)
    assert len(reason) == LONGEST_LINE
    assert reason.endswith("x ...")
    assert as_reason("x" * LONGEST_LINE, root=tmp_path) == "x" * LONGEST_LINE


def test_a_project_behind_a_link_is_left_out_of_reasons_too(tmp_path):
    (tmp_path / "jane").mkdir()
    (tmp_path / "link").symlink_to("jane")
    found = as_reason(f"{tmp_path}/jane/data/splits: no", root=tmp_path / "link")
    assert found == as_reason(f"{tmp_path}/link/data/splits: no", root=tmp_path / "link") == "data/splits: no"
