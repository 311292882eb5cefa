"""A deletion that is killed with SIGKILL anywhere: the next process finds what was done, and does the rest."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import deletion_project
import pytest
from deletion_project import Served

pytestmark = pytest.mark.slow

ALONE = ("run finished", "version registered", "champion set", "ids appended", "purge: objects removed")
"""Acts after which a process dies, and the next one is left in peace."""
TESTS = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def stories(trained, tmp_path_factory):
    """Name -> what happened: nobody dies, one process dies, or one after each act."""
    folder = tmp_path_factory.mktemp("deaths")
    original = deletion_project.copied(trained, folder / "original")
    served = Served(original)
    served.ask(*served.training_ids[:3])
    served.ask(served.split.ids("test")[0])
    served.ask("nobody")
    plan = {"original": str(original), "folder": str(folder), "stories": [[], None, *([one] for one in ALONE)]}
    command = [sys.executable, "-m", "deletion_deaths", json.dumps(plan)]
    environment = {name: value for name, value in os.environ.items() if name not in deletion_project.ENVIRONMENT}
    environment |= {"PYTHONPATH": os.pathsep.join((str(TESTS), str(TESTS.parent))), "OMP_NUM_THREADS": "1"}
    # The purge searches the folder for temporary files, where others may be at work.
    (folder / "temporary").mkdir()
    environment["TMPDIR"] = str(folder / "temporary")
    done = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, timeout=1800, check=False
    )
    found = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    assert (done.returncode, [one["error"] for one in found if "error" in one]) == (0, []), done.stderr[-4000:]
    return dict(zip(("undisturbed", "each", *ALONE), found, strict=True))


def test_an_undisturbed_run_carries_out_all_requests(stories):
    end = stories["undisturbed"]["end"]
    outcomes = ["unlearned", "not trained", "not present"]
    assert end["requests"] == [["completed", outcome, 0] for outcome in outcomes]
    assert end["evidence"] == outcomes
    assert (end["versions"], end["fault"], end["running"]) == (2, None, False)
    assert end["models"] == [end["digest"]]
    assert len(end["erased"]) == len(set(end["erased"])) == 4


def test_a_process_died_after_every_act(stories):
    acts = set(stories["undisturbed"]["acts"])
    assert acts >= {f"{one} #1" for one in ALONE}
    # The empty claim at the end is no act of this work.
    assert acts - set(stories["each"]["died"]) <= {"claim #2"}


@pytest.mark.parametrize("name", ["each", *ALONE])
def test_the_end_is_that_of_an_undisturbed_run(stories, name):
    assert stories[name]["end"] == stories["undisturbed"]["end"]
    assert len(stories[name]["after"]) >= 1


@pytest.mark.parametrize("name", ["each", *ALONE])
def test_after_each_death_a_whole_model_is_served_that_knows_nobody_on_the_list(stories, name):
    whole = set(stories["undisturbed"]["end"]["trained"])
    for seen in stories[name]["after"]:
        # That it could be fetched and verified is checked where it was looked at.
        assert seen["champion"] in (1, 2)
        assert not set(seen["trained"]) & set(seen["erased"])
        assert set(seen["trained"]) >= whole
        assert seen["versions"] <= 2
        assert seen["fault"] is None
