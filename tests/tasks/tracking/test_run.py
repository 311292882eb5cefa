"""What a run keeps can be read back."""

import numpy as np
import pytest
from matplotlib.figure import Figure

from tasks.tracking import TrackingError
from tasks.tracking.datasets import DvcSource


@pytest.fixture
def run(store, unique):
    with store.stage("unlearn", store.pipeline(unique(), params={})) as opened:
        yield opened


def files(run, path=None):
    return [entry.path for entry in run.connection.client.list_artifacts(run.id, path)]


def test_epochs_become_curves(run):
    run.epochs([{"epoch": e, "loss": 1.0 / e, "accuracy": float(e)} for e in range(1, 1201)])
    history = run.connection.client.get_metric_history(run.id, "epoch/loss")
    assert len(history) == 1200
    assert {(m.step, m.value) for m in history} >= {(1, 1.0), (2, 0.5), (1000, 0.001)}


def test_numbers_of_numpy_and_values_that_are_not_numbers_are_kept(run):
    run.metrics({"a": np.float32(0.5), "b": np.int64(3), "c": float("nan")})
    kept = run.connection.client.get_run(run.id).data.metrics
    assert (kept["a"], kept["b"]) == (0.5, 3.0)
    assert np.isnan(kept["c"])


def test_numbers_can_be_shown_with_a_model(store, make_cell):
    record = make_cell()
    store.run(record.run_id).metrics({"forget_accuracy": 12.5}, model_id=record.model_id)
    model = store.connection.client.get_logged_model(record.model_id)
    assert [(m.key, m.value) for m in model.metrics or []] == [("forget_accuracy", 12.5)]


def test_numbers_of_a_model_name_the_images_that_they_were_measured_on(store, make_cell, run):
    record, another = make_cell(), make_cell("original seed 0")
    store.run(record.run_id).metrics({"forget_accuracy": 12.5}, model_id=record.model_id)
    run.metrics({"forget_accuracy": 12.5}, model_id=another.model_id)
    kept = [store.connection.client.get_logged_model(one.model_id).metrics[0] for one in (record, another)]
    assert [(one.dataset_name, one.dataset_digest) for one in kept] == [("digits", "1" * 32 + ".dir"), (None, None)]


def test_tables_figures_and_files_are_kept(run, tmp_path):
    run.table("steps", {"step": np.arange(3), "cos": np.array([0.1, 0.2, 0.3], dtype=np.float32)})
    figure = Figure()
    figure.subplots().plot([1, 2])
    run.figure("conflict", figure)
    run.text("notes/a.txt", "ä\n")
    run.json("b.json", {"x": [1, 2]})
    (tmp_path / "page.html").write_text("<p>")
    run.file(tmp_path / "page.html", "report")
    assert files(run) == ["b.json", "figures", "notes", "report", "tables"]
    assert files(run, "figures") == ["figures/conflict.png"]
    assert files(run, "tables") == ["tables/steps.parquet"]
    assert files(run, "report") == ["report/page.html"]


def test_a_cell_is_read_back(store, make_cell):
    record = make_cell()
    columns = {"step": np.arange(5), "layer": np.array(["a", "b", "c", "d", "e"]), "cos": np.linspace(-1, 1, 5)}
    run = store.run(record.run_id)
    run.table("layers", columns)
    run.json("quantization/audit.json", {"layers": [{"bits": 4}]})
    table = store.cell_table(record, "layers")
    assert list(table) == ["step", "layer", "cos"]
    assert table["step"].dtype == np.int64
    assert table["layer"].tolist() == list("abcde")
    np.testing.assert_array_equal(table["cos"], columns["cos"])
    assert store.cell_json(record, "quantization/audit.json") == {"layers": [{"bits": 4}]}
    assert record.metrics["seconds"] == 1.5


def test_what_a_cell_did_not_keep_is_refused(store, make_cell):
    record = make_cell()
    with pytest.raises(TrackingError, match=r"kept no file tables/steps.parquet"):
        store.cell_table(record, "steps")
    with pytest.raises(TrackingError, match=r"kept no file audit.json"):
        store.cell_json(record, "audit.json")


@pytest.mark.parametrize("columns", [{"a": np.zeros(2), "b": np.zeros(3)}, {"a": np.zeros((2, 2))}])
def test_a_table_of_uneven_columns_is_refused(run, columns):
    with pytest.raises(ValueError, match="one-dimensional and of equal length"):
        run.table("steps", columns)


def test_json_that_no_reader_understands_is_refused(run):
    with pytest.raises(ValueError, match="JSON compliant"):
        run.json("a.json", {"x": float("nan")})


def test_runs_are_found_by_the_digest_of_their_data(store, run):
    digest = "a" * 32 + ".dir"
    run.dataset("split-random", digest=digest, source="data/splits", context="unlearning")
    found = list(store.connection.runs(f"dataset.digest = '{digest}'"))
    assert [r.info.run_id for r in found] == [run.id]
    entry = found[0].inputs.dataset_inputs[0]
    assert (entry.dataset.name, entry.dataset.source_type) == ("split-random", "dvc")
    assert DvcSource.from_json(entry.dataset.source).path == "data/splits"
    assert [(tag.key, tag.value) for tag in entry.tags] == [("mlflow.data.context", "unlearning")]


@pytest.mark.parametrize("digest", ["", "a" * 37])
def test_a_digest_that_mlflow_would_cut_is_refused(run, digest):
    with pytest.raises(ValueError, match="1 to 36 characters"):
        run.dataset("digits", digest=digest, source="data/prepared", context="training")


def test_reused_cells_are_linked(store, run, make_cell):
    record = make_cell()
    run.reused("oeu seed 0", record)
    assert store.run(run.id).tags["reused.oeu seed 0"] == record.run_id
