"""How the settings were chosen."""

import copy

from qunlearn.reporting.source import DASH, plain
from qunlearn.reporting.study import Study
from qunlearn.reporting.trials import searches


def test_each_searched_method_shows_its_trials_and_the_winner(evaluation):
    found = {search.model.name: search for search in searches(Study(evaluation))}
    tuned = found["fine_tune"]

    assert set(found) == {"fine_tune", "random_label"}
    assert tuned.settings == ["learning_rate"]
    assert [plain(trial.settings[0]) for trial in tuned.trials] == ["0.01", "0.05", "0.1"]
    assert [plain(trial.score) for trial in tuned.trials] == ["4.20", "1.70", "2.90"]
    assert [trial.chosen for trial in tuned.trials] == [False, True, False]
    assert len(tuned.trials[0].terms) == len(tuned.terms) == 4


def test_an_oracles_search_carries_the_mark(evaluation):
    oracle = next(search for search in searches(Study(evaluation)) if search.model.name == "random_label")

    assert plain(oracle.model.named) == "random_label ORACLE"
    assert oracle.model.choice == "settings chosen with the retrained model"


def test_settings_and_terms_that_a_trial_lacks_are_dashes(evaluation):
    changed = copy.deepcopy(evaluation)
    trials = changed["context"]["methods"]["fine_tune"]["trials"]
    trials[0]["settings"]["schedule"] = [1, 2]
    del trials[1]["terms"]["forget_term"]
    tuned = next(search for search in searches(Study(changed)) if search.model.name == "fine_tune")

    assert [plain(trial.settings[1]) for trial in tuned.trials] == ["[1, 2]", DASH, DASH]
    assert plain(tuned.trials[1].terms[0]) == DASH


def test_without_searches_there_is_nothing(evaluation):
    changed = copy.deepcopy(evaluation)
    for entry in changed["context"]["methods"].values():
        entry["trials"] = []

    assert searches(Study(changed)) == []
