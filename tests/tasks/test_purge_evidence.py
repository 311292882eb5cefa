"""What evidence shows of a purge names nothing that a person has named."""

from __future__ import annotations

import json

import pytest

from qunlearn.deletion.purge import Action, Entry, PurgePlan
from qunlearn.deletion.purge_inventory import MODEL, OBJECT, QUARANTINED, RUN_FILE, SCRATCH, TEMPORARY
from qunlearn.deletion.purge_scan import Scan
from tasks.deletion.purge import _facts
from tasks.purging import PurgeReport

DIGEST = f"sha256:{'0' * 64}"
RUN = "f" * 32


def facts(*entries: Entry) -> dict:
    return _facts(PurgeReport(PurgePlan(entries), Scan({"MLflow": 1}, ())))


@pytest.mark.parametrize(
    ("path", "shown"),
    [
        ("patients/Jane Doe/x.TXT", "a file .txt"),
        ("Jane Doe", "a file"),
        ("x.Jane Doe", "a file"),
        ("x.janedoe-born-1980", "a file"),
    ],
)
def test_a_file_of_a_run_is_its_run_its_ending_and_its_digest(path, shown):
    entry = Entry(
        RUN_FILE, path, DIGEST, f"MLflow, run Jane Doe's tumour {RUN}", Action.REMOVE, "holds it", f"{RUN}/{path}"
    )
    (found,) = facts(entry)["purge"]["objects"]
    assert found == {
        "kind": RUN_FILE,
        "name": shown,
        "digest": DIGEST,
        "place": f"MLflow, run {RUN}",
        "action": "remove",
    }


def test_registered_names_and_paths_of_folders_are_not_shown():
    place = "/home/jane-doe/tmp"
    folders = [
        Entry(kind, "qunlearn-x", None, place, Action.REMOVE, "", f"{place}/x")
        for kind in (TEMPORARY, SCRATCH, QUARANTINED)
    ]
    model = Entry(
        MODEL, "oeu-seed0", DIGEST, "MLflow, model m-1, registered as jane-doe v1", Action.REMOVE, "is", "m-1"
    )
    outside = [
        Entry(TEMPORARY, "jane-doe", None, place, Action.OUTSIDE, "in use"),
        Entry(RUN_FILE, "jane-doe.onnx", DIGEST, f"MLflow, run jane-doe {RUN}", Action.OUTSIDE, "", f"{RUN}/jane-doe"),
    ]
    found = facts(model, *folders, *outside)
    assert "jane" not in json.dumps(found)
    assert [one["place"] for one in found["purge"]["objects"]] == ["MLflow, model m-1", *["this computer"] * 3]
    assert found["outside"][:2] == [
        "temporary folder, this computer: 1, listed by `qunlearn purge --dry-run`",
        "run artifact, MLflow, runs: 1, listed by `qunlearn purge --dry-run`",
    ]


def test_an_object_of_dvc_is_shown_as_it_is():
    entry = Entry(OBJECT, "abc", None, "DVC cache", Action.REMOVE, "holds 1 erased id", "abc")
    (found,) = facts(entry)["purge"]["objects"]
    assert (found["name"], found["place"]) == ("abc", "DVC cache")
