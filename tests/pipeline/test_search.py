"""A search on real digits: what it chooses, what it leaves behind, what it never looks at and never repeats."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml
from small_pipeline import write_params

import tasks.outputs
import tasks.unlearning
from qunlearn.config import TrackingConfig
from qunlearn.evaluation.gap import GAP_METRICS
from qunlearn.unlearning import resolve
from tasks.manifests import read_choices, read_manifest
from tasks.material import Material
from tasks.tracking import Store
from tasks.workspace import Workspace

RATES = [0.0, 0.02]
EXPLODING = 1e30
"""A weight decay after two steps of which no float of 32 bits can hold a weight."""
RunStage = Callable[[str, Path], None]


def ask(folder: Path, **methods: dict[str, Any]) -> None:
    params = yaml.safe_load((folder / "params.yaml").read_text())
    params["unlearn"] = methods
    write_params(folder, params)


def manifest(folder: Path) -> Path:
    return folder / "models" / "unlearn.json"


def fine_tune(folder: Path) -> dict[str, Any]:
    return read_choices(manifest(folder))["fine_tune"]


def winner(entry: dict[str, Any]) -> dict[str, Any]:
    (found,) = (trial for trial in entry["trials"] if trial["chosen"])
    return found


@dataclass
class Watch:
    """What stages do: the learning rates of methods that are computed, and the images that models are asked about."""

    rates: list[float]
    images: set[int]


@pytest.fixture(scope="module")
def watch() -> Any:
    watched = Watch([], set())
    run, infer = tasks.unlearning.run_method, tasks.outputs.infer

    def noted_run(name, model, problem, config, **options):
        watched.rates.append(config.learning_rate)
        return run(name, model, problem, config, **options)

    def noted_infer(model, pool, indices, **options):
        watched.images.update(indices.tolist())
        return infer(model, pool, indices, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tasks.unlearning, "run_method", noted_run)
        patch.setattr(tasks.outputs, "infer", noted_infer)
        yield watched


@pytest.fixture
def seen(watch: Watch) -> Watch:
    """The same, from the beginning of a test on."""
    watch.rates.clear()
    watch.images.clear()
    return watch


@dataclass(frozen=True)
class Searched:
    folder: Path
    rates: tuple[float, ...]
    images: frozenset[int]


@pytest.fixture(scope="module")
def searched(finished: Path, run_stage: RunStage, watch: Watch, tmp_path_factory: pytest.TempPathFactory) -> Searched:
    """A search by validation in a folder without the retrained models, and what it computed and looked at."""
    folder = tmp_path_factory.mktemp("search") / "copy"
    shutil.copytree(finished, folder, ignore=shutil.ignore_patterns("mlflow.db*", "mlartifacts", "retrain.json"))
    params = yaml.safe_load((folder / "params.yaml").read_text())
    params["tracking"] = {"uri": f"sqlite:///{finished}/mlflow.db", "artifacts": str(finished / "mlartifacts")}
    write_params(folder, params)
    ask(folder, fine_tune={"epochs": 1, "grid": {"learning_rate": RATES}}, qmul={"epochs": 1})
    watch.rates.clear()
    watch.images.clear()
    run_stage("unlearn", folder)
    return Searched(folder, tuple(watch.rates), frozenset(watch.images))


@pytest.fixture
def again(searched: Searched, tmp_path: Path) -> Path:
    """A copy of the searched folder, to run the stage again in."""
    return Path(shutil.copytree(searched.folder, tmp_path / "again"))


@pytest.fixture(scope="module")
def store(finished: Path) -> Store:
    return Store.open(TrackingConfig(), root=finished)


def newest_search(store: Store, **tags: str) -> Any:
    conditions = [f"tags.{key} = '{value}'" for key, value in {"kind": "search", **tags}.items()]
    return next(store.connection.runs(" and ".join(conditions)))


def below(store: Store, run: Any) -> dict[str, Any]:
    found = store.connection.runs(f"tags.`mlflow.parentRunId` = '{run.info.run_id}'")
    return {child.info.run_name: child for child in found}


def test_chosen_settings_have_the_lowest_score_and_the_manifest_tells_how(searched):
    entry = fine_tune(searched.folder)
    scores = [trial["score"] for trial in entry["trials"]]
    assert [trial["settings"] for trial in entry["trials"]] == [{"learning_rate": rate} for rate in RATES]
    assert len(set(scores)) == 2
    assert winner(entry)["score"] == min(scores)
    assert entry["settings"]["learning_rate"] == winner(entry)["settings"]["learning_rate"]
    assert entry["settings"]["epochs"] == 1
    assert (entry["selected_by"], entry["data_access"]) == (
        "validation",
        ["original", "retain", "forget", "validation"],
    )
    for trial in entry["trials"]:
        assert trial["score"] == pytest.approx(sum(trial["terms"].values()) / len(trial["terms"]), abs=1e-5)


def test_methods_without_a_grid_are_told_of_too(searched):
    entry = read_choices(manifest(searched.folder))["qmul"]
    settings = resolve({"qmul": {"epochs": 1}})["qmul"].model_dump(mode="json")
    assert (entry["selected_by"], entry["settings"], entry["trials"]) == ("given", settings, [])


def test_choice_by_validation_looks_at_no_test_image_and_needs_no_retrained_model(searched):
    assert not (searched.folder / "models" / "retrain.json").exists()
    material = Material.load(Workspace.open(searched.folder / "params.yaml"))
    subsets = (("train", "forget"), ("train", "retain"), ("validation", None))
    assert searched.images == {place for subset in subsets for place in material.indices(*subset).tolist()}
    assert not searched.images & set(material.indices("test").tolist())


def test_winner_is_the_final_model_of_its_seed_and_is_not_computed_again(searched, store):
    chosen = winner(fine_tune(searched.folder))
    assert sorted(searched.rates) == sorted([*RATES, chosen["settings"]["learning_rate"]])  # the last one for seed 1
    cells = {cell.name: cell.sha256 for cell in read_manifest(manifest(searched.folder))}
    assert cells["fine_tune/0"] == chosen["sha256"]
    assert cells.keys() == {"fine_tune/0", "fine_tune/1", "qmul/0", "qmul/1"}


def test_search_has_a_run_with_its_trials_below_it(searched, store):
    run = newest_search(store, method="fine_tune", selected_by="validation")
    entry = fine_tune(searched.folder)
    trials = below(store, run)
    assert set(trials) == {f"fine_tune seed 0, learning_rate={rate}" for rate in RATES}
    best = trials[f"fine_tune seed 0, learning_rate={winner(entry)['settings']['learning_rate']}"]
    assert [trial.info.run_id for trial in trials.values() if "chosen_by_validation" in trial.data.tags] == [
        best.info.run_id
    ]
    assert best.data.tags["chosen_by_validation"] == "true"
    assert run.data.tags["chosen_run"] == best.info.run_id
    history = store.connection.client.get_metric_history(run.info.run_id, "score")
    assert {point.step: point.value for point in history} == {
        number: trial["score"] for number, trial in enumerate(entry["trials"], start=1)
    }
    note = run.data.tags["mlflow.note.content"]
    assert len([line for line in note.splitlines() if "learning_rate=" in line]) == 2
    assert next(line for line in note.splitlines() if "learning_rate=" in line).startswith("| **chosen** |")
    stage = store.run(run.data.tags["mlflow.parentRunId"])
    assert stage.tags["reused.fine_tune seed 0"] == best.info.run_id


def test_models_of_trials_go_by_the_name_of_the_cell_and_know_what_they_cost(searched, store):
    for trial in fine_tune(searched.folder)["trials"]:
        record = store.record_by_digest(trial["sha256"], cell="fine_tune seed 0")
        assert record.metrics["peak_memory_mb"] >= 0.0


def test_second_search_computes_nothing_and_writes_the_same_file(again, store, run_stage, seen):
    before = manifest(again).read_bytes()
    manifest(again).unlink()
    run_stage("unlearn", again)
    assert seen.rates == []
    assert manifest(again).read_bytes() == before
    run = newest_search(store, method="fine_tune", selected_by="validation")
    assert below(store, run) == {}
    assert {key for key in run.data.tags if key.startswith("reused.")} == {"reused.trial 1", "reused.trial 2"}


def test_interrupted_search_goes_on_where_it_stopped(again, store, run_stage, seen, monkeypatch):
    ask(again, fine_tune={"epochs": 1, "grid": {"learning_rate": [0.011, 0.012]}})
    noted = tasks.unlearning.run_method

    def power_cut(name, model, problem, config, **options):
        if config.learning_rate == 0.012:
            raise OSError("the power went out")
        return noted(name, model, problem, config, **options)

    with monkeypatch.context() as patch:
        patch.setattr(tasks.unlearning, "run_method", power_cut)
        with pytest.raises(OSError, match="the power went out"):
            run_stage("unlearn", again)
    assert newest_search(store).info.status == "FAILED"
    assert seen.rates == [0.011]

    run_stage("unlearn", again)
    chosen = fine_tune(again)["settings"]["learning_rate"]
    assert seen.rates == [0.011, 0.012, chosen]
    assert newest_search(store).info.status == "FINISHED"


def test_oracle_minimises_the_gap_that_is_reported_and_is_marked(finished, copy, store, run_stage, seen):
    """The default rate's cell was made and evaluated in `finished`: its score must be the gap reported there."""
    rate = resolve({"fine_tune": {}})["fine_tune"].learning_rate
    ask(copy, fine_tune={"epochs": 1, "grid": {"learning_rate": [0.0, rate]}, "oracle": True})
    run_stage("unlearn", copy)
    entry = fine_tune(copy)
    assert entry["selected_by"] == "oracle"
    assert entry["data_access"] == ["original", "retain", "forget", "test", "retrained model"]
    assert winner(entry)["score"] == min(trial["score"] for trial in entry["trials"])
    assert all(list(trial["terms"]) == list(GAP_METRICS) for trial in entry["trials"])
    evaluation = json.loads((finished / "metrics" / "evaluation.json").read_text())
    (cell,) = (one for one in evaluation["cells"] if (one["method"], one["seed"]) == ("fine_tune", 0))
    assert entry["trials"][1]["score"] == pytest.approx(cell["metrics"]["average_gap"], abs=1e-5)
    chosen = newest_search(store, selected_by="oracle").data.tags["chosen_run"]
    assert store.run(chosen).tags["chosen_by_oracle"] == "true"


def test_oracle_without_a_retrained_model_names_the_stage_to_run(copy, run_stage, seen, capfd):
    ask(copy, fine_tune={"grid": {"epochs": [1]}, "oracle": True})
    (copy / "models" / "retrain.json").unlink()
    with pytest.raises(SystemExit) as stopped:
        run_stage("unlearn", copy)
    assert stopped.value.code == 1
    assert "retrain.json: no such file; run `dvc repro retrain` first" in capfd.readouterr().err
    assert seen.rates == []


def test_candidate_that_diverges_is_recorded_never_chosen_and_never_repeated(copy, store, run_stage, seen):
    ask(copy, fine_tune={"epochs": 1, "batch_size": 64, "grid": {"weight_decay": [EXPLODING, 5e-4]}})
    run_stage("unlearn", copy)
    entry = fine_tune(copy)
    lost = {"settings": {"weight_decay": EXPLODING}, "score": None, "terms": {}, "sha256": None, "chosen": False}
    assert entry["trials"][0] == lost
    assert winner(entry)["settings"] == {"weight_decay": 5e-4}
    run = newest_search(store, method="fine_tune", selected_by="validation")
    child = below(store, run)["fine_tune seed 0, weight_decay=1e+30"]
    assert (child.info.status, child.data.tags["diverged"]) == ("FAILED", "true")
    assert "| diverged |" in run.data.tags["mlflow.note.content"]

    before, count = manifest(copy).read_bytes(), len(seen.rates)
    run_stage("unlearn", copy)
    assert len(seen.rates) == count
    assert manifest(copy).read_bytes() == before


def test_search_in_which_all_diverge_is_one_clear_error(copy, run_stage, capfd):
    ask(copy, fine_tune={"epochs": 1, "batch_size": 64, "grid": {"weight_decay": [EXPLODING]}})
    before = manifest(copy).read_bytes()
    with pytest.raises(SystemExit) as stopped:
        run_stage("unlearn", copy)
    assert stopped.value.code == 1
    lines = [line for line in capfd.readouterr().err.splitlines() if line.startswith("unlearn: error: ")]
    assert len(lines) == 1
    assert "unlearn.fine_tune.grid: every candidate diverged" in lines[0]
    assert "(weight_decay=1e+30: fine_tune diverged in epoch 1 " in lines[0]
    assert manifest(copy).read_bytes() == before


def test_mistake_in_a_grid_stops_every_stage_with_one_line(copy, run_stage, capfd):
    ask(copy, oeu={"grid": {"learning_rate": [0.1, -1]}})
    with pytest.raises(SystemExit) as stopped:
        run_stage("ingest", copy)
    assert stopped.value.code == 2
    assert "params.yaml: unlearn.oeu.grid.learning_rate[1] = -1: Input should be" in capfd.readouterr().err
