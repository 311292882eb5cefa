"""What a purge does not reach is told, and what is not ours is not touched."""

from __future__ import annotations

from pathlib import Path

from purge_project import dvc

from qunlearn.deletion.purge import Action
from qunlearn.deletion.purge_inventory import OBJECT
from qunlearn.deletion.traces import Traces
from tasks.purge_outside import outside_custody
from tasks.purging import plan_purge, purge
from tasks.workspace import Workspace


def test_files_of_the_user_with_erased_ids_are_told_and_not_touched(erased):
    requests = erased.root / "data" / "requests"
    requests.mkdir()
    (requests / "request.txt").write_text("\n".join(erased.gone))
    (erased.root / "report").mkdir()
    (erased.root / "report" / "index.html").write_text("no id")
    report = purge(erased.workspace, models="purge")
    (told,) = report.plan.of(Action.OUTSIDE, kind="file")
    assert (told.name, told.why) == (
        "data/requests/request.txt",
        "holds 5 erased ids; a file of yours, to be removed or changed by hand",
    )
    assert (requests / "request.txt").exists()
    assert report.is_complete


def test_data_that_a_person_tracks_are_told_and_not_touched(erased):
    (erased.root / "mine").mkdir()
    (erased.root / "mine" / "table.csv").write_text(f"sample_id\n{erased.gone[0]}\n")
    dvc(erased.root, "add", "mine")
    report = purge(erased.workspace, models="purge")
    (told,) = report.plan.of(Action.OUTSIDE, kind=OBJECT)
    assert told.why == "holds 1 erased id, but belongs to data that you track yourself; take it out there"
    assert report.is_complete
    assert dvc(erased.root, "status", "mine.dvc").strip() == "Data and pipelines are up to date."


def test_a_list_of_samples_to_forget_in_the_parameters_is_told(erased):
    from qunlearn.config import IdsScenario

    (erased.root / "forget.txt").write_text("\n".join(erased.gone[:2]))
    scenario = IdsScenario(kind="ids", file=Path("forget.txt"))
    split = erased.workspace.params.split.model_copy(update={"scenario": scenario})
    params = erased.workspace.params.model_copy(update={"split": split})
    (told,) = plan_purge(Workspace(erased.root, params), models="purge").of(kind="file")
    assert (told.name, told.why) == ("forget.txt", "holds 2 erased ids, which `split` will refuse; take them out")


def test_models_in_experiments_of_other_projects_are_told(erased):
    traces = Traces(frozenset(erased.gone))
    found = outside_custody(erased.workspace, traces, others=[erased.store.connection], unreachable=[])
    (told,) = (one for one in found if one.kind == "experiment")
    assert told.why.startswith("has 5 models that were trained on erased samples")


def test_raw_files_and_their_table_are_told(erased):
    from qunlearn.config import ImageFolderSource

    data = ImageFolderSource(source="image_folder", root=Path("data/raw"), metadata=Path("data/raw/table.csv"))
    params = erased.workspace.params.model_copy(update={"data": data})
    (erased.root / "data" / "raw").mkdir()
    (erased.root / "data" / "raw" / "table.csv").write_text(erased.gone[0])
    plan = plan_purge(Workspace(erased.root, params), models="purge")
    assert {entry.name for entry in plan.of(kind="raw data")} == {"data/raw", "data/raw/table.csv"}
    assert plan.of(kind="file") == ()


def test_a_remote_that_cannot_be_purged_is_told(erased):
    config = erased.root / ".dvc" / "config"
    config.write_text(config.read_text() + "['remote \"web\"']\n    url = https://127.0.0.1:9/store\n")
    (told,) = plan_purge(erased.workspace, models="purge").of(kind="DVC remote")
    assert told.name == "DVC remote web"
    assert "served over HTTP" in told.why
