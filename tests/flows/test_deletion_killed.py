"""A deletion that is killed with SIGKILL anywhere: the next process finds what was done, and does the rest.

Stories are told by `deletion_deaths`, in two processes side by side. Both begin with a deletion that nobody disturbs.
"""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from pathlib import Path

import deletion_project
import pytest
from deletion_acts import NOTHING
from deletion_project import Served

pytestmark = pytest.mark.slow

TESTS = Path(__file__).parents[1]
UNDISTURBED = {"name": "undisturbed"}
EACH = {"name": "each", "each": True}
PATIENCE = 1800
"""Seconds that all stories may take, on a computer that has other things to do."""
ALONE = ("run finished", "alias moved", "ids appended", "purge: objects removed", "ledger: purged, outside, purge")
"""Acts after which a process dies, and the next one is left in peace."""
MOMENTS = [(tenth + random.Random(tenth).random()) / 10 for tenth in range(10)]
"""Parts of the time of an undisturbed run: one in each tenth, anywhere in it."""
PROGRAMS = {"name": "programs", "programs": [1.5, 0.5]}
"""Seconds for which `python -m flows.deletion`, with Prefect and its server, carries out its batch before it dies."""
PLANS = (
    [UNDISTURBED, EACH, PROGRAMS],
    [
        UNDISTURBED | {"name": "undisturbed again"},
        *({"name": one, "after": one} for one in ALONE),
        *({"name": f"moment {number}", "moment": one} for number, one in enumerate(MOMENTS)),
    ],
)
KILLED = [one["name"] for plan in PLANS for one in plan[1:]]
FREE = ("removed", "statuses")
"""What deaths may change: they leave copies that the purge removes as well, and runs that are marked as killed."""
ABOVE = (["deletion"], ["deletion service"])
"""Runs above that of an unlearning. Who dies after its end and before theirs leaves them marked as killed, and the next
process needs no others: the unlearning is done."""


@pytest.fixture(scope="module")
def stories(trained, tmp_path_factory):
    """Name -> what happened."""
    folder = tmp_path_factory.mktemp("deaths")
    original = deletion_project.copied(trained, folder / "original")
    served = Served(original)
    served.ask(*served.training_ids[:3])
    served.ask(served.split.ids("test")[0])
    served.ask("nobody")
    started = [begin(plan, original, folder / str(number)) for number, plan in enumerate(PLANS)]
    try:
        ended = [process.communicate(timeout=PATIENCE) for process in started]
    finally:
        for process in started:
            process.kill()
    for process, (_, said) in zip(started, ended, strict=True):
        assert process.returncode == 0, said[-4000:]
    told = [json.loads(line) for out, _ in ended for line in out.splitlines() if line.startswith("{")]
    assert [one["error"] for one in told if "error" in one] == [], [said[-4000:] for _, said in ended]
    return {one["name"]: one for one in told}


def begin(plan, original, folder):
    """A process that tells these stories."""
    folder.mkdir()
    command = [sys.executable, "-m", "deletion_deaths"]
    command.append(json.dumps({"original": str(original), "folder": str(folder / "stories"), "stories": plan}))
    ours = {*deletion_project.ENVIRONMENT, "PREFECT_API_URL"}
    environment = {name: value for name, value in os.environ.items() if name not in ours}
    environment |= {"PYTHONPATH": os.pathsep.join((str(TESTS), str(TESTS.parent))), "OMP_NUM_THREADS": "1"}
    environment["DVC_SITE_CACHE_DIR"] = str(folder / "site")
    return subprocess.Popen(
        command, cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


@pytest.fixture(params=KILLED)
def killed(stories, request):
    """A story in which somebody died."""
    return stories[request.param]


@pytest.fixture
def end(stories):
    """What is left of an undisturbed run."""
    return stories["undisturbed"]["end"]


def test_an_undisturbed_run_carries_out_all_requests_once(stories, end):
    outcomes = ["unlearned", "not trained", "not present"]
    assert end["requests"] == [["completed", outcome, 0, None] for outcome in outcomes]
    assert [one["request"]["outcome"] for one in end["evidence"]] == outcomes
    assert (end["batches"], end["champion"], end["versions"], end["fault"]) == (1, 2, 2, None)
    assert end["intact"] == [end["digest"]]
    assert end["statuses"] == ["FINISHED"]
    assert len(end["erased"]) == len(set(end["erased"])) == 4
    assert not set(end["erased"]) & {*end["data"], *end["trained"]}
    assert stories["undisturbed again"]["end"] == end


def test_the_erased_list_has_one_commit_that_holds_nothing_else(end):
    assert end["commits"] == 2
    assert end["history"] == ["Erase the samples of b-", "The project"]
    assert (end["changed"], end["committed"], end["status"]) == (["data/erased.txt"], end["erased"], [])
    assert end["evidence"][0]["digests"]["erased_commit"] is True


def test_a_process_died_after_every_act(stories):
    acts = stories["undisturbed"]["acts"]
    assert {one.removeprefix("ledger: ").partition(",")[0] for one in acts} >= {"unlearned", "verified", "promoted"}
    assert {*ALONE, "claim", "champion set", "committed", "purge closed", "ledger: completed, evidence"} <= set(acts)
    assert stories["each"]["died"] == [one for one in acts if one != NOTHING]
    assert [stories[one]["died"] for one in ALONE] == [[one] for one in ALONE]


def test_processes_died_at_ten_moments_between_begin_and_end(stories):
    moments = [stories[f"moment {number}"]["died"] for number in range(len(MOMENTS))]
    assert [len(died) for died in moments] == [1] * 10
    assert len({died[0] for died in moments}) > 3
    assert len(stories["programs"]["died"]) == 2


def test_the_end_is_that_of_an_undisturbed_run(killed, end):
    different = [name for name in end if killed["end"][name] != end[name] and name not in (*FREE, "runs")]
    assert not different, {name: (killed["end"][name], end[name]) for name in different}
    made, usual = ([run for run in one["runs"] if run not in ABOVE] for one in (killed["end"], end))
    assert made == usual
    assert set(killed["end"]["statuses"]) <= {"FINISHED", "KILLED"}


def test_the_purge_tells_of_what_it_tells_otherwise_and_of_copies_that_deaths_left(killed, end):
    for told, usual in zip(killed["end"]["removed"], end["removed"], strict=True):
        assert [one for one in told if one in usual] == usual
        more = [one for one in told if one not in usual]
        copies = [one for one in more if one["kind"] == "model"]
        # The same unlearned weights, made by a run that was cut short before it could say so.
        assert {(one["digest"], one["place"]) for one in copies} <= {(f"sha256:{end['digest']}", "MLflow, model m-")}
        assert {one["kind"] for one in more} <= {"model", "temporary folder"}


def test_at_every_moment_a_whole_model_was_served_that_knew_nobody_on_the_list(killed):
    # What is looked at is told in `deletion_reader`.
    reader = killed["reader"]
    assert reader["failures"] == []
    assert reader["versions"] == [1, 2]
    assert reader["readings"] > len(killed["died"])
    assert reader["misses"] <= 1


def test_after_each_death_nothing_is_lost_and_nothing_was_done_twice(killed, end):
    for seen in killed["after"]:
        assert seen["fault"] is None
        assert not set(seen["trained"]) & set(seen["erased"])
        assert set(seen["trained"]) >= set(end["trained"])
        assert seen["erased"] in ([], end["erased"])
        assert seen["versions"] <= 2
        assert seen["commits"] <= 2
