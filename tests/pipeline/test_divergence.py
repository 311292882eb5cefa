"""What cannot be computed ends a stage in plain lines: divergence, and searches that nothing could score."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from small_pipeline import write_params

import tasks.unlearning
from qunlearn.config import TrackingConfig
from qunlearn.data import imageset
from qunlearn.data.splits import _contents, load_split, save_split
from tasks.tracking import Store

EXPLODING = {"epochs": 1, "batch_size": 64, "weight_decay": 3e30}
SEARCHED = {"epochs": 1, "batch_size": 64, "grid": {"weight_decay": [2e30]}}
"""Rates of their own: what diverged in another test is not repeated here, nor the other way about."""
Failing = Callable[..., list[str]]


def change(folder: Path, **blocks: Any) -> None:
    write_params(folder, {**yaml.safe_load((folder / "params.yaml").read_text()), **blocks})


@pytest.fixture
def failing(run_stage: Callable[[str, Path], None], capfd: pytest.CaptureFixture[str]) -> Failing:
    """Runs a stage that must end with exit code 1; what it said as errors, with no traceback beside them."""

    def run(stage: str, folder: Path) -> list[str]:
        with pytest.raises(SystemExit) as stopped:
            run_stage(stage, folder)
        assert stopped.value.code == 1
        captured = capfd.readouterr()
        assert "Traceback" not in captured.err + captured.out
        return [line for line in captured.err.splitlines() if line.startswith(f"{stage}: error: ")]

    return run


def test_cell_that_diverges_is_one_clear_error(copy, failing):
    change(copy, unlearn={"fine_tune": EXPLODING})
    (line,) = failing("unlearn", copy)
    assert "fine_tune diverged in epoch 1 " in line
    assert line.endswith("lower unlearn.fine_tune.learning_rate")


@pytest.mark.parametrize("stage", ["pretrain", "retrain"])
def test_training_that_diverges_is_one_clear_error(copy, failing, stage):
    change(copy, training={"epochs": 1, "batch_size": 64, "learning_rate": 1e30, "crop_padding": 0, "flip": False})
    (line,) = failing(stage, copy)
    assert "training diverged in epoch 1 of 1 " in line


def test_every_search_without_a_result_is_told_and_the_others_are_finished(finished, copy, failing):
    good = {"epochs": 1, "batch_size": 64, "grid": {"weight_decay": [5e-4]}}
    change(copy, unlearn={"fine_tune": SEARCHED, "neg_grad_plus": good, "oeu": SEARCHED})
    first, second = failing("unlearn", copy)
    assert "unlearn.fine_tune.grid: every candidate diverged" in first
    assert "unlearn.oeu.grid: every candidate diverged" in second
    store = Store.open(TrackingConfig(), root=finished)
    newest: dict[str, str] = {}
    for run in store.connection.runs("tags.kind = 'search'"):
        newest.setdefault(run.data.tags["method"], run.info.status)
    expected = {"fine_tune": "FAILED", "neg_grad_plus": "FINISHED", "oeu": "FAILED"}
    assert {name: newest[name] for name in expected} == expected


def keep_one_validation_image(folder: Path, *, forgotten: bool) -> None:
    """Take all validation images out of the split but one, which is of a forgotten class or is not."""
    image_set, split = imageset.load(folder / "data" / "prepared"), load_split(folder / "data" / "splits")
    labels = image_set.labels[image_set.index_of(split.id_column)]
    held_out = np.flatnonzero(split.partition_column == "validation")
    one = next(place for place in held_out if (labels[place] in split.manifest["forgotten_classes"]) == forgotten)
    split.partition_column[held_out[held_out != one]] = "test"
    split.manifest.update(_contents(split))
    save_split(split, folder / "data" / "splits")


@pytest.mark.parametrize(
    ("forgotten", "words"),
    [(False, "none in common; raise split.validation"), (True, "lies outside the forgotten classes [3]; raise split.")],
)
def test_search_that_validation_cannot_score_starts_no_trial(copy, run_stage, failing, monkeypatch, forgotten, words):
    change(
        copy, split={"scenario": {"kind": "class", "classes": [3]}}, unlearn={"fine_tune": {"grid": {"epochs": [1]}}}
    )
    run_stage("split", copy)
    keep_one_validation_image(copy, forgotten=forgotten)
    monkeypatch.setattr(tasks.unlearning, "run_method", lambda *_a, **_k: pytest.fail("a trial was computed"))
    (line,) = failing("unlearn", copy)
    assert "unlearn.fine_tune.grid: cannot be searched with split.validation = 0.1: " in line
    assert words in line
