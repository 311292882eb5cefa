"""The seven stages on real digits: what lies in the files and in MLflow afterwards."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import yaml
from small_pipeline import SMALL, write_params

from qunlearn import checkpoint
from qunlearn.config import QuantizationConfig, TrackingConfig
from qunlearn.data.splits import load_split
from tasks.manifests import read_manifest
from tasks.material import Material
from tasks.tracking import Store
from tasks.tracking.lineage import as_text, lineage
from tasks.workspace import Workspace

METHODS = ["original", "retrain", *SMALL["unlearn"]]


@pytest.fixture(scope="module")
def store(finished: Path) -> Store:
    return Store.open(TrackingConfig(), root=finished)


@pytest.fixture(scope="module")
def evaluation(finished: Path) -> dict:
    return json.loads((finished / "metrics" / "evaluation.json").read_text())


def test_every_method_is_evaluated_once_a_seed(evaluation):
    assert [row["method"] for row in evaluation["summary"]] == METHODS
    cells = [(cell["method"], cell["seed"]) for cell in evaluation["cells"]]
    assert sorted(cells) == sorted((method, seed) for method in METHODS for seed in SMALL["seeds"])


def test_audit_shows_the_bits_in_force(evaluation):
    inside = [layer for layer in evaluation["context"]["audit"] if not layer["edge"]]
    edges = [layer for layer in evaluation["context"]["audit"] if layer["edge"]]
    assert inside
    assert len(edges) == 2
    assert {(layer["weight_bits"], layer["activation_bits"]) for layer in inside} == {(4, 4)}
    assert {(layer["weight_bits"], layer["activation_bits"]) for layer in edges} == {(8, 8)}


def test_weights_in_mlflow_are_the_ones_the_manifests_name(finished, store, tmp_path):
    for stage in ("pretrain", "retrain", "unlearn"):
        cell = read_manifest(finished / "models" / f"{stage}.json")[0]
        folder = store.fetch(cell.sha256, tmp_path / stage)
        assert checkpoint.load(folder, digest=cell.sha256).digest == cell.sha256


def test_unlearned_models_know_what_they_were_trained_on(finished, store, tmp_path):
    split = load_split(finished / "data" / "splits")
    cell = read_manifest(finished / "models" / "unlearn.json")[0]
    found = checkpoint.load(store.fetch(cell.sha256, tmp_path / "model"))
    assert set(found.trained_ids) == set(split.ids("train", "retain"))
    assert not set(found.trained_ids) & set(split.ids("train", "forget"))


def test_retrained_model_starts_from_other_weights_than_the_original(finished, store, tmp_path):
    original, retrained = (read_manifest(finished / "models" / f"{s}.json")[0] for s in ("pretrain", "retrain"))
    weights = [
        dict(checkpoint.load(store.fetch(cell.sha256, tmp_path / cell.method)).model.named_parameters())
        for cell in (original, retrained)
    ]
    convolutions = [name for name, value in weights[0].items() if value.ndim == 4]
    assert convolutions
    for name in convolutions:
        assert not (weights[0][name] == weights[1][name]).any()


def test_lineage_reaches_data_split_parent_and_code(finished, store):
    cell = next(c for c in read_manifest(finished / "models" / "unlearn.json") if c.method == "oeu")
    parent = next(c for c in read_manifest(finished / "models" / "pretrain.json") if c.seed == cell.seed)
    text = as_text(lineage(store, cell.sha256))
    for part in ("data/prepared", "data/splits", parent.sha256[:12], cell.sha256[:12]):
        assert part in text


def test_every_projection_left_a_residual_below_the_bound(finished, store):
    for cell in read_manifest(finished / "models" / "unlearn.json"):
        if cell.method == "oeu":
            steps = store.cell_table(store.record_by_digest(cell.sha256), "steps")
            assert len(steps["residual"])
            assert max(steps["residual"]) < 1e-6


def test_report_holds_every_method_and_no_address_of_a_script(finished):
    page = (finished / "report" / "index.html").read_text()
    assert all(method in page for method in METHODS)
    assert "<script src" not in page
    assert 'stylesheet" href' not in page


def test_stages_run_again_give_the_same_models_without_computing(finished, copy, run_stage):
    before = (copy / "models" / "unlearn.json").read_text()
    (copy / "models" / "unlearn.json").unlink()
    run_stage("unlearn", copy)
    assert (copy / "models" / "unlearn.json").read_text() == before


def test_changing_one_method_recomputes_its_cells_alone(copy, run_stage, store):
    params = yaml.safe_load((copy / "params.yaml").read_text())
    params["unlearn"]["oeu"]["lambda"] = 0.5
    write_params(copy, params)
    before = {cell.name: cell.sha256 for cell in read_manifest(copy / "models" / "unlearn.json")}
    run_stage("unlearn", copy)
    after = {cell.name: cell.sha256 for cell in read_manifest(copy / "models" / "unlearn.json")}
    assert {name for name in after if after[name] != before[name]} == {"oeu/0", "oeu/1"}


def test_result_does_not_depend_on_the_number_of_workers(
    finished: Path, run_stage: Callable[[str, Path], None], tmp_path: Path
):
    params = {**SMALL, "seeds": [1, 0], "runner": {"kind": "threads", "workers": 3}}
    write_params(tmp_path, params)
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "erased.txt").touch()
    for stage in ("ingest", "split", "pretrain", "unlearn"):
        run_stage(stage, tmp_path)
    for stage in ("pretrain", "unlearn"):
        first, second = (set(read_manifest(f / "models" / f"{stage}.json")) for f in (finished, tmp_path))
        assert first == second


def test_method_of_strength_zero_leaves_the_original_and_harms_no_other_cell(copy, run_stage):
    """Its weights equal the original's; the two must not be taken for each other."""
    params = yaml.safe_load((copy / "params.yaml").read_text())
    params["unlearn"] = {"gradient_ascent": {"learning_rate": 0.0, "epochs": 1}, **params["unlearn"]}
    write_params(copy, params)
    run_stage("unlearn", copy)
    run_stage("evaluate", copy)
    rows = {row["method"]: row for row in json.loads((copy / "metrics" / "evaluation.json").read_text())["summary"]}
    assert rows["gradient_ascent"]["mean"]["code_flips"] == 0.0
    assert rows["gradient_ascent"]["mean"]["forget_accuracy"] == rows["original"]["mean"]["forget_accuracy"]


def test_what_decides_the_weights_is_in_a_cells_settings(finished):
    workspace = Workspace.open(finished / "params.yaml")
    material = Material.load(workspace)
    indices = material.indices("train")
    settings = material.settings(indices)
    assert material.settings(indices.flip(0)) == settings

    relabelled = replace(material, pool=replace(material.pool, labels=(material.pool.labels + 1) % 10))
    bits = replace(material.blueprint, quantization=QuantizationConfig(weight_bits=2))
    shifted = replace(material.pool.transform, mean=(0.0,))
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(before + 1)
        threads = material.settings(indices)
    finally:
        torch.set_num_threads(before)
    changed = [
        relabelled.settings(indices),
        replace(material, blueprint=bits).settings(indices),
        replace(material, pool=replace(material.pool, transform=shifted)).settings(indices),
        material.settings(indices[1:]),
        threads,
    ]
    assert all(other != settings for other in changed)


def test_model_is_always_fed_as_it_was_trained(finished, store, tmp_path):
    """Statistics of the prepared images change when samples are erased; a model's own do not."""
    material = Material.load(Workspace.open(finished / "params.yaml"))
    cell = read_manifest(finished / "models" / "pretrain.json")[0]
    model = checkpoint.load(store.fetch(cell.sha256, tmp_path / "model"))
    drifted = replace(material, pool=replace(material.pool, transform=replace(material.pool.transform, mean=(0.1,))))
    assert drifted.for_model(model).pool.transform == material.pool.transform


def test_workspace_takes_paths_from_the_folder_of_the_parameters(finished):
    assert Workspace.open(finished / "params.yaml").prepared == finished.resolve() / "data" / "prepared"
