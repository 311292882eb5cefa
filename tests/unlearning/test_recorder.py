import math

import numpy as np
import pytest
import torch
from torch import nn

from qunlearn.unlearning.recorder import Recorder


@pytest.fixture
def recorder():
    recorder = Recorder(sizes={"forget": 10, "retain": 40}, measure=lambda _: {"code_flips": 0.25})
    recorder.layer_names = ["a", "b"]
    return recorder


def step(recorder, number, statistics, layers=None, epoch=1):
    place = {"step": number, "epoch": epoch, "learning_rate": 0.1 / number}
    tensors = {name: torch.tensor(value) for name, value in statistics.items()}
    recorder.step(place, tensors, {name: torch.tensor(value) for name, value in (layers or {}).items()})


def test_columns_have_equal_length_and_nan_where_a_step_has_no_such_figure(recorder):
    step(recorder, 1, {"retain_loss": 1.0})
    step(recorder, 2, {"retain_loss": 3.0, "cosine": -0.5})
    recorder.end_epoch(nn.Identity(), epochs=2, extra={})
    step(recorder, 3, {"forget_loss": 7.0}, epoch=2)
    recorder.end_epoch(nn.Identity(), epochs=2, extra={})
    steps = recorder.steps()
    assert list(steps)[:2] == ["step", "epoch"]
    assert steps["step"].tolist() == [1, 2, 3]
    np.testing.assert_array_equal(steps["retain_loss"], [1.0, 3.0, np.nan])
    np.testing.assert_array_equal(steps["cosine"], [np.nan, -0.5, np.nan])
    np.testing.assert_array_equal(steps["forget_loss"], [np.nan, np.nan, 7.0])


def test_an_epochs_row_has_means_the_largest_residual_and_the_measured_figures(recorder):
    step(recorder, 1, {"retain_loss": 1.0, "residual": 1e-9})
    step(recorder, 2, {"retain_loss": 3.0, "residual": math.nan})
    row = recorder.end_epoch(nn.Identity(), epochs=1, extra={"realised": torch.tensor(0.5)})
    assert row["retain_loss"] == 2.0
    assert row["residual"] == pytest.approx(1e-9)
    assert row["learning_rate"] == 0.05
    assert (row["epoch"], row["realised"], row["code_flips"]) == (1.0, 0.5, 0.25)
    assert recorder.epochs == [row]


def test_layers_make_a_long_table(recorder):
    step(recorder, 1, {}, {"cosine": [0.1, 0.2]})
    step(recorder, 2, {}, {"cosine": [0.3, 0.4]})
    recorder.end_epoch(nn.Identity(), epochs=1, extra={})
    layers = recorder.layers()
    assert layers["step"].tolist() == [1, 1, 2, 2]
    assert layers["layer"].tolist() == ["a", "b", "a", "b"]
    assert layers["cosine"] == pytest.approx([0.1, 0.2, 0.3, 0.4])


def test_without_steps_there_are_empty_columns_and_no_layers(recorder):
    assert {name: len(values) for name, values in recorder.steps().items()} == {"step": 0, "epoch": 0}
    assert recorder.layers() is None


def test_work_is_counted_in_passes_over_the_full_sets(recorder):
    recorder.count("forget", 5)
    recorder.count("retain", 80)
    assert recorder.passes() == {"forget": 0.5, "retain": 2.0}


def test_a_finished_epoch_is_announced(recorder):
    heard = []
    recorder.on_epoch = heard.append
    step(recorder, 1, {"forget_loss": -2.0, "forget_accuracy": 30.0}, epoch=3)
    recorder.end_epoch(nn.Identity(), epochs=4, extra={})
    assert (heard[0].epoch, heard[0].epochs, heard[0].loss, heard[0].accuracy) == (3, 4, -2.0, 30.0)
