"""The membership attack: chosen on validation images, told apart by class mix, and never worse for a larger loss."""

import numpy as np
import pytest
from deletion.gate_readings import SIZES, changed, gate, labels_of, readings
from hypothesis import given, settings
from hypothesis import strategies as st

from qunlearn.config.gates import GatesConfig
from qunlearn.deletion.gates import Readings, judge
from qunlearn.deletion.gates import attack as attacks
from qunlearn.deletion.gates.attack import SCORES, attack, strongest_score
from qunlearn.evaluation.arrays import losses
from qunlearn.evaluation.membership import auc

NONE = np.array([], dtype=np.int64)
LABELS = labels_of()
CONFIG = GatesConfig(resamples=200)


def judged(before, after, *, config=CONFIG, seed=0):
    return judge(before, after, config, forgotten_classes=(), seed=seed)


# --- the score -------------------------------------------------------------------------------------------------------


def only_margins_tell(seed=0):
    """Retained and validation samples with one law of the loss, whose largest wrong logits differ."""
    generator = np.random.default_rng(seed)
    logits = {}
    for name, truth in LABELS.items():
        spread = 3.0 if name in ("validation", "test") else 0.0
        wrong = generator.normal(0, 0.01, (len(truth), 4))
        wrong[np.arange(len(truth)), (truth + 1) % 4] += spread
        wrong[np.arange(len(truth)), truth] = -np.inf
        total = np.log(np.exp(wrong).sum(axis=1))
        wrong[np.arange(len(truth)), truth] = total + generator.normal(2.0, 1.0, len(truth))
        logits[name] = wrong
    return Readings(logits, LABELS)


def test_the_score_that_tells_retained_from_validation_samples_best_is_taken():
    model = only_margins_tell()
    parts = model.of("retain"), model.of("validation")
    by_score = {name: auc(score(*parts[0]), score(*parts[1])) for name, score in SCORES.items()}

    assert strongest_score(model, forgotten=NONE) == "margin" == max(by_score, key=by_score.get)
    assert by_score["margin"] > by_score["loss"] + 0.1
    assert attack(model, forgotten=NONE, resamples=100, seed=0).score == "margin"
    assert "By margin, the score" in gate(judged(model, model), "membership").text


def test_neither_samples_to_forget_nor_test_samples_choose_the_score():
    model = only_margins_tell()
    generator = np.random.default_rng(3)
    for name in ("forget", "test"):
        model = changed(model, name, slice(None), generator.normal(size=(SIZES[name], 4)))

    assert strongest_score(model, forgotten=NONE) == "margin"


def test_classes_that_are_forgotten_whole_have_no_say_in_the_score():
    model = only_margins_tell()
    calm = readings(LABELS, trained=())
    for name in ("retain", "validation"):
        kept = LABELS[name] == 0
        model = changed(model, name, kept, calm.logits[name][kept])
    names = {strongest_score(model, forgotten=np.array(classes)) for classes in ([], [0])}

    assert "margin" in names
    assert strongest_score(model, forgotten=np.arange(4)) == "loss"  # nothing is left to choose by


@given(seed=st.integers(0, 50))
def test_the_score_named_loss_orders_as_the_loss_does(seed):
    generator = np.random.default_rng(seed)
    logits, labels = generator.normal(0, 3, (20, 4)), generator.integers(0, 4, 20)

    assert (np.argsort(SCORES["loss"](logits, labels)) == np.argsort(-losses(logits, labels))).all()


@pytest.mark.parametrize("name", SCORES)
@settings(max_examples=50)
@given(seed=st.integers(0, 10_000), drop=st.floats(0.01, 6.0))
def test_a_less_likely_true_class_never_looks_more_like_a_member(name, seed, drop):
    generator = np.random.default_rng(seed)
    logits, labels = generator.normal(0, 2, (1, 4)), generator.integers(0, 4, 1)
    lower = logits.copy()
    lower[0, labels[0]] -= drop

    assert SCORES[name](lower, labels)[0] <= SCORES[name](logits, labels)[0]


# --- what is compared ------------------------------------------------------------------------------------------------


def test_test_samples_come_in_the_largest_whole_multiple_of_the_class_mix(monkeypatch):
    labels = {**LABELS, "forget": np.array([0] * 20 + [1] * 10 + [2] * 5)}  # 30 test samples of each class
    seen = []
    monkeypatch.setattr(attacks, "auc", lambda own, other: seen.append((own, other)) or 0.5)
    found = attack(readings(labels), forgotten=NONE, resamples=100, seed=0)

    assert (found.members, found.outsiders) == (35, 35)  # class 0 has no second twenty
    labels["forget"] = np.array([0] * 15 + [1] * 10 + [2] * 5)
    found = attack(readings(labels), forgotten=NONE, resamples=100, seed=0)
    assert (found.members, found.outsiders) == (30, 60)
    own, other = seen[-1]
    assert (len(own), len(other)) == (30, 60)
    assert len(np.unique(other)) == 60  # no test sample twice


def test_samples_without_a_test_sample_of_their_own_are_left_out_and_counted():
    labels = {**LABELS, "forget": np.array([0] * 32 + [1] * 2 + [3] * 6), "test": np.arange(120) % 3}
    found = gate(judged(readings(labels), readings(labels)), "membership")

    assert "34 samples to forget against 34 test samples" in found.text
    assert "6 samples to forget were left out: there are too few test samples of their classes" in found.text


def test_samples_of_a_class_that_is_forgotten_whole_are_not_compared():
    labels = {**LABELS, "forget": np.array([0] * 30 + [1] * 5)}
    found = attack(readings(labels), forgotten=np.array([1]), resamples=100, seed=0)

    assert found.members == 30


# --- the gates -------------------------------------------------------------------------------------------------------


def at(level):
    """A candidate whose samples to forget are by `level` nats surer than test samples."""
    return readings(LABELS, trained=("forget",), lead=level, seed=7)


def test_the_interval_decides_not_the_value():
    slight = judged(at(4.0), at(0.1))
    found = gate(slight, "membership")

    assert found.value > 0.52
    assert found.interval[0] <= found.limit
    assert found.passed


def test_the_margin_moves_the_limit():
    model = at(1.0)
    low = gate(judged(model, model), "membership").interval[0]
    assert low > 0.51
    strict, wide = (GatesConfig(resamples=200, auc_margin=one) for one in (low - 0.501, low - 0.499))

    assert not gate(judged(model, model, config=strict), "membership").passed
    assert gate(judged(model, model, config=wide), "membership").passed


def test_samples_that_became_conspicuous_fail_by_another_gate():
    strange = judged(at(4.0), at(-4.0))

    assert gate(strange, "membership").passed
    found = gate(strange, "streisand")
    assert (found.passed, found.limit) == (False, 0.4)
    assert "conspicuously strange to the model and can be found by that: unlearn more gently" in found.text
    assert found.passed_before
    assert not strange.passed
    assert gate(judged(at(4.0), at(-4.0), config=GatesConfig(auc_low=0.0)), "streisand").passed


def test_samples_that_were_strange_to_the_champion_already_are_said_to_be():
    found = gate(judged(at(-4.0), at(-5.0)), "streisand")

    assert (found.passed, found.passed_before, found.informative) == (False, False, True)
    assert "but so they were to the champion; they may be hard by nature" in found.text


def test_samples_that_are_somewhat_strange_are_warned_of():
    found = gate(judged(at(4.0), at(-0.8)), "streisand")

    assert 0.4 < found.interval[1] < 0.5
    assert found.passed
    assert "Warning: the samples are stranger" in found.text


def test_equal_scores_everywhere_pass_with_an_auc_of_one_half():
    flat = Readings({name: np.zeros((len(one), 4)) for name, one in LABELS.items()}, LABELS)
    found = judged(flat, flat)

    assert gate(found, "membership").value == 0.5
    assert gate(found, "membership").interval == (0.5, 0.5)
    assert gate(found, "membership").passed
    assert gate(found, "streisand").passed


def test_one_class_is_enough():
    labels = {name: np.zeros(count, dtype=np.int64) for name, count in SIZES.items()}
    judgement = judged(readings(labels), readings(labels, trained=("retain",), seed=5))

    assert gate(judgement, "membership").passed
    assert gate(judgement, "membership").informative


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10_000), drops=st.lists(st.floats(0.0, 6.0), min_size=1, max_size=5), pool=st.booleans())
def test_raising_losses_of_forget_samples_never_makes_the_gate_fail(seed, drops, pool):
    # With `pool` there are more samples to forget than test samples, so that those compared are drawn.
    labels = labels_of({**SIZES, "test": 40} if pool else SIZES)
    model = readings(labels, seed=seed, ahead=-1.0, lead=0.4)
    logits = model.logits["forget"].copy()
    places = np.random.default_rng(seed).permutation(60)[: len(drops)]
    logits[places, labels["forget"][places]] -= drops
    raised = Readings({**model.logits, "forget": logits}, labels)
    old, new = (gate(judged(model, one), "membership") for one in (model, raised))

    assert new.value <= old.value + 1e-12
    assert new.interval[0] <= old.interval[0] + 1e-12
    assert new.passed or not old.passed


def test_models_that_never_saw_the_samples_pass_and_models_that_did_are_found():
    unseen, seen = [], []
    for seed in range(60):
        champion = readings(LABELS, seed=seed, lead=1.5)
        fresh = readings(LABELS, seed=1000 + seed, trained=("retain",))
        found = gate(judged(champion, fresh, seed=seed), "membership")
        unseen.append(found.passed)
        seen.append(found.passed_before)

    assert np.mean(unseen) >= 0.95
    assert np.mean(seen) <= 0.1
