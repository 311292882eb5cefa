"""A network that somebody exported from the served model stays, as the model does."""

from __future__ import annotations

import pytest

from qunlearn.deletion.purge import Action, make_plan
from qunlearn.deletion.purge_inventory import Inventory, RunFile
from qunlearn.deletion.purge_models import StoredModel

BASE = StoredModel("m-1", "base", f"sha256:{'0' * 64}", "MLflow", erased=3)
SERVED = StoredModel("m-2", "served", f"sha256:{'1' * 64}", "MLflow", erased=0, parents=("m-1",), served=True)


@pytest.mark.parametrize(
    ("path", "found", "made", "action"),
    [
        ("export/model.onnx", "", ("m-2",), Action.OUTSIDE),
        ("export/Model.ONNX", "", ("m-2",), Action.OUTSIDE),
        ("export/model.onnx", "3 erased ids", ("m-2",), Action.REMOVE),
        ("export/model.onnx", "", ("m-1",), Action.REMOVE),
        ("export/model.onnx", "", (), Action.REMOVE),
        ("cache/logits.npz", "", ("m-2",), Action.REMOVE),
    ],
)
def test_only_an_export_of_the_served_model_without_a_trace_stays_and_is_told(path, found, made, action):
    file = RunFile("r", "run", path, f"sha256:{'2' * 64}", found, frozenset({"m-1", "m-2"}), frozenset(made))
    plan = make_plan(Inventory(models=(BASE, SERVED), run_files=(file,)), models="purge")
    (entry,) = plan.of(kind="run artifact")
    assert entry.action == action
