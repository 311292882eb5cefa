"""Which trial wins, what a score is made of, and what the scoring by validation is told."""

import inspect
import json
import pickle
from dataclasses import replace

import numpy as np
import pytest

from qunlearn.config import EvaluateConfig
from qunlearn.evaluation import measure
from qunlearn.evaluation.gap import GAP_METRICS
from qunlearn.unlearning import choices
from tasks.assignments import Assignment, Once, Outcome, Trial
from tasks.manifests import Cell
from tasks.scoring import ORACLE_SUBSETS, VALIDATION_SUBSETS, Score, gap_metrics, score_by_validation
from tasks.selection import Selection, Tried, best


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
    assert (entry["method"], entry["selected_by"]) == ("oeu", "validation")
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
    final = Assignment("oeu", "oeu", 0, parent, selection.config)
    trial = Assignment("oeu", "oeu", 0, parent, selection.config, Trial(1, selection.choice.candidates[0].label))
    assert final.label == final.name == trial.name == "oeu seed 0"
    assert final.stored_name == trial.stored_name == "oeu seed 0"
    assert trial.label == "oeu seed 0, learning_rate=0.1, lambda=1.0"
    assert (final.model_name, trial.model_name) == ("oeu-seed0", "oeu-seed0-trial1")
    assert trial.final_name == "oeu-seed0"


def test_assignments_and_outcomes_travel_to_other_processes(selection):
    parent = Cell("original", 0, "c" * 64)
    for one in (
        Assignment("a+b", "oeu", 0, parent, selection.config, Trial(1, "x")),
        *(t.outcome for t in selection.trials),
    ):
        assert pickle.loads(pickle.dumps(one)) == one


def test_a_row_has_its_own_name_for_people_and_its_methods_for_the_store(selection):
    row = Assignment("oeu-layer", "oeu", 0, Cell("original", 0, "c" * 64), selection.config, Trial(2, "epochs=1"))
    assert (row.name, row.label) == ("oeu-layer seed 0", "oeu-layer seed 0, epochs=1")
    assert (row.final_name, row.model_name) == ("oeu-layer-seed0", "oeu-layer-seed0-trial2")
    assert row.stored_name == Cell("oeu-layer", 0, "a" * 64, "oeu").stored_name == "oeu seed 0"


def test_the_entry_of_a_row_tells_its_method():
    choice = choices({"oeu-layer": {"method": "oeu", "epochs": 2}})["oeu-layer"]
    assert Selection(choice, choice.base).entry()["method"] == "oeu"


class Recording:
    """A task that only notes what it is given, and what it waits for."""

    def __init__(self):
        self.submitted = []

    def submit(self, workspace, context, assignment, *, wait_for):
        self.submitted.append((assignment.row, assignment.seed, list(wait_for)))
        return assignment.name


def test_a_cell_with_the_weights_of_another_waits_for_it(selection):
    parents = {seed: Cell("original", seed, str(seed) * 64) for seed in (0, 1)}
    other = selection.choice.base
    rows = [
        ("a", "oeu", selection.config),
        ("b", "oeu", selection.config),
        ("c", "oeu", other),
        ("d", "oeu", selection.config),
    ]
    task, once = Recording(), Once()
    for seed, parent in parents.items():
        for row, method, config in rows:
            once.submit(task, None, None, Assignment(row, method, seed, parent, config))
    assert task.submitted == [
        (row, seed, [f"a seed {seed}"] if row in "bd" else []) for seed in parents for row in "abcd"
    ]


@pytest.mark.parametrize("change", [{"method": "qmul"}, {"seed": 1}, {"parent": Cell("original", 0, "d" * 64)}])
def test_whatever_changes_the_weights_is_other_work_and_names_are_not(selection, change):
    one = Assignment("a", "oeu", 0, Cell("original", 0, "c" * 64), selection.config)
    assert replace(one, **change).work != one.work
    assert replace(one, config=selection.choice.base).work != one.work
    assert replace(one, row="b", trial=Trial(1, "x")).work == one.work
