"""`qunlearn up` with the real servers: requests become a new champion and evidence without anybody's help."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from real_servers import RefusedError, Site, ask, pixels, until

from flows import servers
from flows.processes import start_time
from flows.services import DEPLOYMENTS
from qunlearn.data.erased import read_erased
from qunlearn.data.splits import load_split
from tasks.tracking import MissingCheckpointError, Store
from tasks.tracking.registry import SERVED
from tasks.workspace import Workspace

pytestmark = [pytest.mark.servers, pytest.mark.slow]

PERSON = "jane-doe"


@pytest.fixture
def site(project: Path) -> Iterator[Site]:
    """A project with a trained model that nobody has released yet."""
    made = Site(project)
    store_of(made).connection.client.delete_registered_model(SERVED)
    yield made
    servers.down(project)


def store_of(site: Site) -> Store:
    return Store.open(Workspace.open(site.root / "params.yaml").params.tracking, root=site.root)


def test_scheduled_runs_complete_two_requests_and_the_champion_changes(site, tmp_path):
    workspace = Workspace.open(site.root / "params.yaml")
    asked = load_split(workspace.splits).ids("train")[:5]
    images = pixels(site.root, asked)
    started_with(site)
    benchmark_made_by_dvc(site)
    first = released(site)
    # Prepared images, split, both in DVC's cache, and the list of what the model was trained on.
    assert len(site.holding(asked, images)) > 5

    no_person_gets_in(site)
    by_command = json.loads(site.told("request", "add", *words(asked[:3]), "--json"))["id"]
    by_form = requested_by_form(site, asked[3:])
    requests = {by_command, by_form}

    until(lambda: states(site, requests) == {"completed"}, seconds=240, told=site.log)
    for request in requests:
        assert "The evidence is genuine." in site.told("evidence", "verify", request)
        assert site.artifact(f"evidence-{request}")["type"] == "markdown"
    site.told("ledger", "verify")
    assert read_erased(workspace.erased) == set(asked)
    assert site.holding(asked, images) == set()

    store = store_of(site)
    champion = store.champion()
    assert champion.version > first.version
    with pytest.raises(MissingCheckpointError):
        store.fetch(first.digest, tmp_path / "purged", model_id=first.model_id)
    served = f"{site.mlflow}/api/2.0/mlflow/registered-models/alias?name={SERVED}&alias=champion"
    assert ask(served)["model_version"]["source"] == f"models:/{champion.model_id}"
    assert champion.digest in site.told("lineage", f"{SERVED}@champion")

    the_cron_has_fired(site)
    assert site.artifact("overdue-requests")["description"].startswith("No request is overdue on ")
    assert "No request is overdue." in site.told("status")
    all_ends(site)


# --- its steps, in this order ----------------------------------------------------------------------------------------


def started_with(site: Site) -> None:
    assert "workflowType=machine_learning" in site.told("up")
    site.told("status")
    known = ask(f"{site.prefect}/api/deployments/filter", {})
    assert sorted(one["name"] for one in known) == sorted(name.partition("/")[2] for name in DEPLOYMENTS)
    before, begun = {state.name: state.pid for state in servers.status(site.root)}, time.monotonic()
    site.told("up")
    assert time.monotonic() - begun < 10
    assert {state.name: state.pid for state in servers.status(site.root)} == before


def benchmark_made_by_dvc(site: Site) -> None:
    """So that the data are in DVC's cache, too."""
    run = site.start("refresh-benchmark")
    message = until(lambda: site.message(run), seconds=120, told=site.log)
    assert message.startswith("dvc.lock has changed: ")
    assert {one["state"]["type"] for name in ("ingest", "split") for one in site.runs(name)} == {"COMPLETED"}


def released(site: Site):
    assert store_of(site).champion() is None
    assert "version 1 is served" in site.told("release", "original-seed0")
    return store_of(site).champion()


def no_person_gets_in(site: Site) -> None:
    """What is no id is refused before it is stored; later parts of the test look at what is stored."""
    for parameters in ({"samples": [PERSON]}, {"subject_hash": PERSON}, {"due": PERSON}, {"class_name": [PERSON]}):
        with pytest.raises(RefusedError, match=r"^409 "):
            site.start("submit-request", **parameters)
    assert site.runs("submit-request") == []
    stored = b"".join(path.read_bytes() for path in (site.root / ".prefect").glob("prefect.db*"))
    assert b"submit-request" in stored
    assert PERSON.encode() not in stored


def requested_by_form(site: Site, samples: list[str]) -> str:
    run = site.start("submit-request", samples=samples)
    message = until(lambda: site.message(run), seconds=60, told=site.log)
    assert message.startswith("request r-")
    return message.split()[1].rstrip(",")


def words(samples: list[str]) -> list[str]:
    return [word for sample in samples for word in ("--sample", sample)]


def states(site: Site, requests: set[str]) -> set[str]:
    listed = json.loads(site.told("request", "list", "--json"))
    assert {one["id"] for one in listed} == requests
    return {one["state"] for one in listed}


def the_cron_has_fired(site: Site) -> None:
    """The run that did the work was nobody's but the schedule's; it may end a little later than its last step."""

    def worked():
        done = [run for run in site.runs("deletion") if run["state"]["type"] == "COMPLETED"]
        return [run for run in done if "done, 0 rejected" in run["state"]["message"]]

    found = until(worked, seconds=60, told=lambda: str(site.runs("deletion")))
    assert all(run["auto_scheduled"] and set(run["parameters"]) == {"params_file"} for run in found)
    assert sum(int(run["state"]["message"].split()[0]) for run in found) == 2


def all_ends(site: Site) -> None:
    pids = [state.pid for state in servers.status(site.root)]
    assert site.told("down") == "Ended deletion, prefect, mlflow.\n"
    assert all(start_time(pid) is None for pid in pids)
    assert site.command("status").returncode == 1
