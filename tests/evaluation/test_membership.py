"""Membership attacks against hand-computed cases, slow references and known distributions."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score, roc_curve
from sklearn.svm import SVC

from qunlearn.evaluation import membership
from qunlearn.evaluation.attack_features import svc_features
from qunlearn.evaluation.membership import auc, bootstrap, matched, svc_attack, svc_attacks, tpr_at_fpr

SCORES = st.lists(st.integers(-3, 3).map(float), min_size=1, max_size=12).map(np.array)
LABELS = st.lists(st.integers(0, 3), min_size=1)


# --- the field's numbers ---------------------------------------------------------------------------------------------


def test_the_attack_gives_the_share_of_forget_samples_on_the_non_members_side():
    retain, test = np.full(20, 0.99), np.full(20, 0.20)
    forget = np.array([0.98, 0.97, 0.25, 0.15, 0.99])

    assert svc_attack(retain=retain, test=test, forget=forget) == 40.0


def test_the_attack_takes_the_first_retained_samples_in_order_as_members():
    test, forget = np.full(10, 0.5), np.full(4, 0.5)
    surely_known, like_test = np.full(10, 0.99), np.full(10, 0.5)

    first_known = svc_attack(retain=np.concatenate([surely_known, like_test]), test=test, forget=forget)
    first_like_test = svc_attack(retain=np.concatenate([like_test, surely_known]), test=test, forget=forget)

    assert first_known == 100.0
    assert first_like_test in (0.0, 100.0)  # the attack cannot tell: all forget samples get the same answer


def test_the_attack_agrees_with_the_attack_written_out():
    generator = np.random.default_rng(1)
    retain, test, forget = generator.beta(8, 1, 150), generator.beta(3, 1, 60), generator.beta(5, 1, 40)
    attack = SVC(C=3, gamma="auto", kernel="rbf")
    attack.fit(
        np.r_[retain[:60], test].reshape(-1, 1),
        np.r_[np.ones(60), np.zeros(60)],
    )
    expected = 100.0 * sum(attack.predict([[p]])[0] == 0 for p in forget) / 40

    assert svc_attack(retain=retain, test=test, forget=forget) == pytest.approx(expected, abs=1e-12)


def test_the_attack_with_fewer_retained_than_test_samples_uses_all_of_them():
    value = svc_attack(retain=np.full(5, 0.99), test=np.full(9, 0.1), forget=np.array([0.99, 0.1]))

    assert value == 50.0


def three_sets(seed=0, classes=4):
    """A model that is surer of training samples than of test samples."""
    generator = np.random.default_rng(seed)
    sizes, lift = {"forget": 50, "retain": 200, "test": 80}, {"forget": 2.5, "retain": 4.0, "test": 1.5}
    labels = {name: generator.integers(0, classes, count) for name, count in sizes.items()}
    return {
        name: generator.normal(size=(len(y), classes)) + lift[name] * np.eye(classes)[y] for name, y in labels.items()
    }, labels


def test_the_five_attacks_agree_with_each_written_out():
    logits, labels = three_sets()
    found = svc_attacks(logits, labels)

    assert set(found) == {f"mia_{n}" for n in ("confidence", "correctness", "entropy", "modified_entropy", "full")}
    sets = {name: svc_features(logits[name], labels[name]) for name in logits}
    for name in sets["test"]:
        columns = 4 if name == "full" else 1
        member, outsider, asked = (sets[k][name].reshape(-1, columns) for k in ("retain", "test", "forget"))
        attack = SVC(C=3, gamma=1 / columns, kernel="rbf")
        attack.fit(np.vstack([member[:80], outsider]), [1] * 80 + [0] * 80)
        assert found[f"mia_{name}"] == pytest.approx(100 * np.mean([attack.predict([x])[0] == 0 for x in asked]))


def test_by_correctness_the_wrong_predictions_are_the_non_members():
    # All members right, most test samples wrong: the attack calls exactly the wrong ones non-members.
    right, wrong = np.array([[3.0, 0.0]]), np.array([[0.0, 3.0]])
    logits = {
        "retain": right.repeat(10, axis=0),
        "test": np.vstack([right.repeat(2, axis=0), wrong.repeat(8, axis=0)]),
        "forget": np.vstack([right, wrong, wrong, right]),
    }
    labels = {name: np.zeros(len(values), dtype=np.int64) for name, values in logits.items()}

    assert svc_attacks(logits, labels)["mia_correctness"] == 50.0


def test_retained_samples_beyond_the_size_of_the_test_set_do_not_matter():
    logits, labels = three_sets()
    changed = {**logits, "retain": np.vstack([logits["retain"][:80], -logits["retain"][80:]])}

    assert svc_attacks(changed, labels) == svc_attacks(logits, labels)


def test_one_machine_is_fitted_per_feature_on_all_samples(monkeypatch):
    fitted = []

    class Counting(SVC):
        def fit(self, points, truth):
            fitted.append((points.shape, truth.sum()))
            return super().fit(points, truth)

    monkeypatch.setattr(membership, "SVC", Counting)
    svc_attacks(*three_sets())

    assert fitted == [((160, 1), 80)] * 4 + [((160, 4), 80)]


# --- matching --------------------------------------------------------------------------------------------------------


def test_matched_sets_have_the_same_size_and_class_mix():
    forget, test = np.array([0, 0, 0, 1, 1, 2]), np.array([2, 2, 1, 0, 0, 3])

    own, other = matched(forget, test, seed=0)

    assert np.bincount(forget[own]).tolist() == [2, 1, 1]
    assert np.bincount(test[other]).tolist() == [2, 1, 1]


@given(forget=LABELS, test=LABELS, seed=st.integers(0, 9))
def test_matching_draws_without_replacement_and_repeats_by_seed(forget, test, seed):
    forget, test = np.array(forget), np.array(test)
    if not set(forget) & set(test):
        with pytest.raises(ValueError, match="no class in common"):
            matched(forget, test, seed=seed)
        return

    own, other = matched(forget, test, seed=seed)
    again, _ = matched(forget, test, seed=seed)

    assert len(set(own)) == len(own) == len(set(other)) == len(other)
    assert sorted(forget[own]) == sorted(test[other])
    assert (own == again).all()


@pytest.mark.parametrize("other", ["test", "validation"])
def test_sets_without_a_common_class_are_named_with_the_setting_to_raise(other):
    message = rf"forget set \(classes \[0\]\) and {other} set \(classes \[1\]\) .*; raise split\.{other}"
    with pytest.raises(ValueError, match=message):
        matched(np.array([0]), np.array([1, 1]), seed=0, other=other)


# --- AUC and TPR -----------------------------------------------------------------------------------------------------


def test_auc_counts_wins_and_half_ties():
    # Pairs: 3>1, 3>2, 2>1 win, 2=2 ties: (3 + 0.5) / 4.
    assert auc(np.array([3.0, 2.0]), np.array([1.0, 2.0])) == 0.875


@given(members=SCORES, non_members=SCORES)
def test_auc_equals_the_mean_over_all_pairs_and_mirrors(members, non_members):
    pairs = [(m > n) + 0.5 * (m == n) for m in members for n in non_members]
    truth = np.r_[np.ones(len(members)), np.zeros(len(non_members))]

    assert auc(members, non_members) == pytest.approx(np.mean(pairs))
    assert auc(members, non_members) == pytest.approx(1 - auc(non_members, members))
    assert auc(members, non_members) == pytest.approx(roc_auc_score(truth, np.r_[members, non_members]))


def test_tpr_allows_exactly_one_percent_of_false_positives():
    non_members = np.arange(200.0)  # two of 200 may be exceeded: the threshold is 197
    members = np.array([196.0, 197.0, 197.5, 198.0, 500.0])

    assert tpr_at_fpr(members, non_members) == 0.6


def test_tpr_with_few_non_members_allows_no_false_positive():
    assert tpr_at_fpr(np.array([4.0, 5.0, 6.0]), np.array([1.0, 5.0])) == pytest.approx(1 / 3)


@given(members=SCORES, non_members=SCORES, fpr=st.sampled_from([0.0, 0.01, 0.1, 0.5]))
def test_tpr_equals_the_best_threshold_found_by_trying_all(members, non_members, fpr):
    best = 0.0
    for threshold in [*non_members, *members]:
        if np.mean(non_members > threshold) <= fpr:
            best = max(best, float(np.mean(members > threshold)))

    assert tpr_at_fpr(members, non_members, fpr=fpr) == pytest.approx(best)


@given(members=SCORES, non_members=SCORES, fpr=st.sampled_from([0.0, 0.01, 0.1, 0.5]))
def test_tpr_agrees_with_the_roc_curve_of_scikit_learn(members, non_members, fpr):
    truth = np.r_[np.ones(len(members)), np.zeros(len(non_members))]
    false, true, _ = roc_curve(truth, np.r_[members, non_members], drop_intermediate=False)

    assert tpr_at_fpr(members, non_members, fpr=fpr) == pytest.approx(true[false <= fpr].max())


# --- bootstrap -------------------------------------------------------------------------------------------------------


@settings(max_examples=20, deadline=None)
@given(members=SCORES, non_members=SCORES, seed=st.integers(0, 3))
def test_bootstrap_equals_resampling_and_computing_each_time(members, non_members, seed):
    ours = bootstrap(members, non_members, resamples=25, seed=seed, fpr=0.2)

    generator = np.random.default_rng(seed)
    members, non_members = np.sort(members)[::-1], np.sort(non_members)[::-1]
    own = generator.integers(0, len(members), (25, len(members)))
    other = generator.integers(0, len(non_members), (25, len(non_members)))
    drawn = [(members[i], non_members[j]) for i, j in zip(own, other, strict=True)]
    for name, figure in (("auc", auc), ("tpr", lambda a, b: tpr_at_fpr(a, b, fpr=0.2))):
        expected = np.percentile([figure(a, b) for a, b in drawn], [2.5, 97.5])
        assert ours[name] == pytest.approx(tuple(expected))


def test_bootstrap_repeats_by_seed_and_brackets_the_truth():
    generator = np.random.default_rng(0)
    members, non_members = generator.normal(1.0, 1.0, 300), generator.normal(0.0, 1.0, 300)

    low, high = bootstrap(members, non_members, resamples=400, seed=5)["auc"]

    assert (low, high) == bootstrap(members, non_members, resamples=400, seed=5)["auc"]
    assert low < 0.7602 < high  # Phi(1 / sqrt 2)
    assert high - low < 0.12


def test_indistinguishable_sets_have_auc_one_half_and_tpr_near_the_false_positive_rate():
    scores = np.random.default_rng(2).normal(size=(2, 4000))

    assert auc(*scores) == pytest.approx(0.5, abs=0.02)
    assert tpr_at_fpr(*scores) == pytest.approx(0.01, abs=0.006)
