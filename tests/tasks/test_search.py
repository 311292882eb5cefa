"""Which trial wins, what a score is made of, and what the scoring by validation is told."""

import inspect
import json
import pickle

import numpy as np
import pytest

from qunlearn.config import EvaluateConfig
from qunlearn.evaluation import measure
from qunlearn.evaluation.gap import GAP_METRICS
from qunlearn.unlearning import choices
from tasks.manifests import Cell
from tasks.scoring import ORACLE_SUBSETS, VALIDATION_SUBSETS, Score, gap_metrics, score_by_validation
from tasks.search import Selection, Tried, best
from tasks.unlearning import Assignment, Outcome, Trial


def scores(*values):
    return [Score(value) for value in values]


def test_lowest_score_wins():
    assert best(scores(3.0, 1.0, 2.0)) == 1


def test_first_of_equal_scores_wins():
    assert best(scores(2.0, 1.0, 1.0)) == 1


def test_trial_without_a_score_never_wins():
    assert best(scores(None, 7.0, None)) == 1
    assert best(scores(None, None)) is None
    assert best([]) is None


def test_scoring_by_validation_is_told_of_no_retrained_model_and_no_test_images():
    assert set(inspect.signature(score_by_validation.fn).parameters) == {"workspace", "cell", "original"}
    assert VALIDATION_SUBSETS == ("forget", "retain", "validation")


def test_oracle_measures_what_the_evaluation_reports():
    generator = np.random.default_rng(0)
    sizes = {"forget": 30, "retain": 80, "test": 50}
    labels = {name: generator.integers(0, 4, size) for name, size in sizes.items()}
    logits = {
        name: generator.normal(size=(size, 4)) + 2.0 * np.eye(4)[labels[name]] * (name != "test")
        for name, size in sizes.items()
    }
    assert set(ORACLE_SUBSETS) == set(sizes)
    found = gap_metrics(logits, labels)
    reported = measure(logits, labels, config=EvaluateConfig(bootstrap=0))
    assert found == {name: reported[name] for name in found}
    assert set(found) == set(GAP_METRICS)


@pytest.fixture
def selection():
    choice = choices({"oeu": {"epochs": 2, "grid": {"learning_rate": [0.1, 9], "lambda": [1]}}})["oeu"]
    tried = (
        Tried(choice.candidates[0], Outcome("r1", "a" * 64), Score(1.5, {"retain_term": 1.0, "forget_term": 2.0})),
        Tried(choice.candidates[1], Outcome("r2", None, "it diverged"), Score(None)),
    )
    return Selection(choice, choice.candidates[0].config, tried, 0)


def test_entry_of_the_manifest_is_complete_and_plain_json(selection):
    entry = selection.entry()
    assert json.loads(json.dumps(entry, allow_nan=False)) == entry
    assert entry["selected_by"] == "validation"
    assert entry["data_access"] == ["forget", "original", "retain", "validation"]
    assert (entry["settings"]["lambda"], entry["settings"]["epochs"]) == (1.0, 2)
    assert entry["trials"] == [
        {
            "settings": {"learning_rate": 0.1, "lambda": 1.0},
            "score": 1.5,
            "terms": {"retain_term": 1.0, "forget_term": 2.0},
            "sha256": "a" * 64,
            "chosen": True,
        },
        {
            "settings": {"learning_rate": 9.0, "lambda": 1.0},
            "score": None,
            "terms": {},
            "sha256": None,
            "chosen": False,
        },
    ]


def test_settings_that_were_not_searched_have_no_trials():
    for block, how in (({}, "defaults"), ({"epochs": 2}, "given")):
        choice = choices({"oeu": block})["oeu"]
        entry = Selection(choice, choice.base).entry()
        assert (entry["selected_by"], entry["trials"]) == (how, [])
        assert entry["data_access"] == ["forget", "original", "retain"]


def test_trial_is_told_apart_by_its_label_and_the_name_of_its_model(selection):
    """Its cell keeps the name of the final cell, by which its model is found."""
    parent = Cell("original", 0, "c" * 64)
    final = Assignment("oeu", 0, parent, selection.config)
    trial = Assignment("oeu", 0, parent, selection.config, Trial(1, selection.choice.candidates[0].label))
    assert final.label == final.name == trial.name == "oeu seed 0"
    assert trial.label == "oeu seed 0, learning_rate=0.1, lambda=1.0"
    assert (final.model_name, trial.model_name) == ("oeu-seed0", "oeu-seed0-trial1")
    assert trial.final_name == "oeu-seed0"


def test_assignments_and_outcomes_travel_to_other_processes(selection):
    parent = Cell("original", 0, "c" * 64)
    for one in (Assignment("oeu", 0, parent, selection.config, Trial(1, "x")), *(t.outcome for t in selection.trials)):
        assert pickle.loads(pickle.dumps(one)) == one
