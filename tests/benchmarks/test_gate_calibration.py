"""The calibration runs and counts what it says; the rates themselves are in docs/gates.md."""

import json
from pathlib import Path

import numpy as np
import pytest

from benchmarks import gate_calibration, gate_trials
from benchmarks.gate_trials import SIZES, Networks, over_forgotten, simulated
from qunlearn.config import TrainingConfig
from qunlearn.deletion.gates.attack import SCORES
from qunlearn.evaluation.membership import auc
from qunlearn.training import train

RECIPE = TrainingConfig(epochs=1, batch_size=64, learning_rate=0.05, crop_padding=0, flip=False)
SMALL = Networks("digits", Path("data/raw"), 700, 4, RECIPE)


def leak(model):
    own, other = (SCORES["loss"](*model.of(name)) for name in ("forget", "test"))
    return auc(own, other)


def test_simulated_champions_leak_as_much_as_was_asked_and_other_models_nothing():
    trials = [simulated(300, auc=0.7, seed=seed) for seed in range(60)]
    champion, unseen, _ = (np.mean([leak(one) for one in models]) for models in zip(*trials, strict=True))

    assert champion == pytest.approx(0.7, abs=0.01)
    assert unseen == pytest.approx(0.5, abs=0.01)


def test_models_that_forget_too_much_do_it_as_much_as_was_asked_and_on_nothing_else():
    unseen = [simulated(300, auc=0.7, seed=seed)[1] for seed in range(60)]
    over = [over_forgotten(one, auc=0.3) for one in unseen]

    assert np.mean([leak(one) for one in over]) == pytest.approx(0.3, abs=0.01)
    changed = over[0].logits["forget"] - unseen[0].logits["forget"]
    assert (np.count_nonzero(changed, axis=1) == 1).all()
    assert all((over[0].logits[name] == unseen[0].logits[name]).all() for name in ("retain", "validation", "test"))


@pytest.mark.parametrize("size", [20, 30])
def test_both_sides_are_the_two_gates_together_and_other_limits_have_figures_of_their_own(size):
    # At these seeds each of the four figures is met and missed.
    found = [
        one
        for seed in range(8)
        for over in ((), (0.3, 0.4))
        for one in gate_calibration.answers(simulated(size, auc=0.7, seed=seed), seed=seed, over=over).values()
    ]

    for one in found:
        assert one["both sides"] == (one["membership, margin 0"] and one["streisand"])
        assert one["streisand"] or not one["streisand, auc_low 0.5"]
    for name in ("membership, margin 0", "streisand", "streisand, auc_low 0.5", "both sides"):
        assert len({one[name] for one in found}) == 2
    assert [one["streisand"] for one in found] != [one["streisand, auc_low 0.5"] for one in found]


def test_champions_are_trained_on_the_pool_and_the_others_are_not(monkeypatch):
    trained = []

    def noted(model, images, indices, config, *, seed):
        trained.append(indices.tolist())
        return train(model, images, indices, config, seed=seed)

    monkeypatch.setattr(gate_trials, "train", noted)
    _, parts = SMALL._split(0)
    trials = list(SMALL.trials(seed=0, draws=2))

    pool = set(parts["forget"])
    assert len(pool) == 300
    champion, *others = map(set, trained)
    assert champion - pool == others[0] == others[1] == set(parts["retain"])
    assert champion > pool
    assert not champion & {*parts["validation"], *parts["test"]}
    assert sum(map(len, parts.values())) == 700
    assert [size for size, _ in trials] == [size for size in SIZES for _ in range(2)]
    champion, unseen, reference = trials[-1][1]
    assert len(champion.labels["forget"]) == 300
    assert len(champion.labels["retain"]) <= len(champion.labels["validation"])
    assert (champion.labels["forget"] == unseen.labels["forget"]).all()
    assert (unseen.logits["test"] != reference.logits["test"]).any()


def test_the_table_has_a_row_for_each_model_and_number_of_samples(tmp_path, capsys):
    options = {"trials": 2, "auc": 0.8, "splits": 2, "draws": 1, "subset": 700, "width": 4, "epochs": 1}
    options["json"] = tmp_path / "rates.json"
    given = [text for name, value in options.items() for text in (f"--{name}", str(value))]
    gate_calibration.main([*given, "--over", "0.4", "0.2"])
    content = json.loads((tmp_path / "rates.json").read_text())

    assert content["settings"]["subset"] == 700
    both, over = ("never saw", "saw"), ("over-forgot, AUC 0.4", "over-forgot, AUC 0.2")
    assert [(row["setting"], row["model"], row["samples"]) for row in content["rows"]] == [
        (setting, model, size)
        for setting, models in (("simulated, AUC 0.8", both), ("simulated", over), ("digits", both))
        for size in SIZES
        for model in models
    ]
    assert {row["trials"] for row in content["rows"]} == {2}
    assert all(0 <= rate <= 100 for row in content["rows"] for rate in row["passes"].values())
    assert "utility" in content["rows"][-1]["passes"]
    assert "utility" not in content["rows"][0]["passes"]
    printed = capsys.readouterr().out
    assert "| simulated, AUC 0.8 | saw | 300 | 2 |" in printed
    assert "split 2 of 2" in printed


def test_rates_are_means_over_groups_with_their_standard_error(monkeypatch):
    given = iter([True, True, False, True, False, False])
    monkeypatch.setattr(gate_calibration, "answers", lambda *_, **__: {"saw": {"streisand": next(given)}})
    tally = gate_calibration.Tally("x")
    for group in range(3):
        for _ in range(2):
            tally.add(5, None, group=group)
    (row,) = tally.rows()

    assert row["trials"] == 6
    assert row["passes"]["streisand"] == 50.0
    assert row["standard_error"]["streisand"] == pytest.approx(50 / 3**0.5)
