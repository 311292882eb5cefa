"""The judgement as a whole: which gates there are, when it passes, and that nothing a model says can break it."""

import json
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
from deletion.gate_readings import SIZES, changed, gate, labels_of, readings, right
from hypothesis import given, settings
from hypothesis import strategies as st

from qunlearn.config.gates import GatesConfig
from qunlearn.deletion.gates import Readings, judge
from qunlearn.deletion.gates.judgement import HARM

CONFIG = GatesConfig(resamples=200)
LABELS = labels_of()
CHAMPION = readings(LABELS, seed=1)
UNSEEN = readings(LABELS, seed=2, trained=("retain",))


def names(judgement):
    return [one.name for one in judgement.gates]


def verdict(before, after, **options):
    return judge(before, after, CONFIG, **{"forgotten_classes": (), "seed": 0, **options})


# --- who passes ------------------------------------------------------------------------------------------------------


def test_a_model_that_never_saw_the_samples_passes_and_the_champion_does_not():
    good, bad = verdict(CHAMPION, UNSEEN), verdict(CHAMPION, CHAMPION)

    assert names(good) == names(bad) == ["utility", "retain", "membership", "streisand"]
    assert good.passed
    assert not bad.passed
    assert not gate(bad, "membership").passed
    assert "still knows the samples" in gate(bad, "membership").text
    assert gate(good, "membership").before == gate(bad, "membership").value > 0.99
    assert good.informative
    assert "informative" not in gate(good, "membership").text


def test_what_the_champion_passes_too_is_not_informative():
    judgement = verdict(UNSEEN, UNSEEN)
    membership = gate(judgement, "membership")

    assert judgement.passed
    assert (membership.passed, membership.passed_before, membership.informative) == (True, True, False)
    assert membership.text.endswith("Not informative: the champion passed as well, before anything was unlearned.")
    assert gate(judgement, "utility").informative
    assert gate(judgement, "streisand").informative
    assert not judgement.informative


def test_a_failed_gate_is_not_said_to_be_uninformative():
    judgement = verdict(UNSEEN, CHAMPION)

    assert gate(judgement, "membership").passed_before
    assert "informative" not in gate(judgement, "membership").text


def test_a_loss_of_accuracy_alone_keeps_a_model_from_being_released():
    judgement = verdict(CHAMPION, right(LABELS, {"test": 100, "forget": 50}))

    assert [one.name for one in judgement.gates if not one.passed] == ["utility"]
    assert not judgement.passed


def test_a_retrained_candidate_is_shown_its_membership_gates_but_not_bound_by_them():
    judgement = verdict(CHAMPION, CHAMPION, retrained=True)

    assert not gate(judgement, "membership").passed
    assert judgement.passed
    assert [one.name for one in judgement.gates if not one.binding] == ["membership", "streisand"]
    few = labels_of({**SIZES, "forget": 5})
    judgement = verdict(readings(few), readings(few), retrained=True)
    assert [one.name for one in judgement.gates if not one.binding] == ["loss_percentile", "streisand"]
    assert not verdict(CHAMPION, right(LABELS, {"test": 100}), retrained=True).passed


# --- which gates there are -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("count", "expected"), [(1, "loss_percentile"), (29, "loss_percentile"), (30, "membership")])
def test_thirty_samples_have_an_auc_and_fewer_percentiles(count, expected):
    labels = labels_of({**SIZES, "forget": count})
    judgement = verdict(readings(labels), readings(labels, trained=("retain",)))

    assert names(judgement)[2:] == [expected, "streisand"]
    assert {one.weak for one in judgement.gates[2:]} == {expected == "loss_percentile"}


def test_many_samples_with_few_test_samples_of_their_classes_have_percentiles():
    labels = labels_of({**SIZES, "test": 29})
    judgement = verdict(readings(labels), readings(labels, trained=("retain",)))

    assert names(judgement) == ["utility", "retain", "loss_percentile", "streisand"]
    for found in judgement.gates[2:]:
        assert not found.weak  # 60 samples among 109
        assert found.text.startswith("From 60 samples: of the losses of 109 held-out samples")
        assert "An AUC with an interval needs 30 samples with a test sample" in found.text


def test_many_samples_among_few_held_out_ones_are_weak_too():
    labels = labels_of({**SIZES, "test": 20, "validation": 9})
    judgement = verdict(readings(labels), readings(labels, trained=("retain",)))

    assert all(one.weak for one in judgement.gates[2:])


def test_a_whole_class_has_gates_of_its_own_and_its_samples_no_others():
    labels = {**LABELS, "forget": np.full(60, 2)}
    gone = changed(readings(labels), "forget", slice(None), [9.0, 0.0, 0.0, 0.0])
    for name in ("validation", "test"):
        gone = changed(gone, name, labels[name] == 2, [9.0, 0.0, 0.0, 0.0])
    judgement = verdict(readings(labels), gone, forgotten_classes=[2])

    assert names(judgement) == ["utility", "retain", "class_held_out", "class_forget"]
    assert judgement.passed
    assert judgement.informative


def test_a_class_and_single_samples_of_others_have_the_gates_of_both():
    labels = {**LABELS, "forget": np.array([2] * 40 + [0] * 5)}
    judgement = verdict(readings(labels), readings(labels), forgotten_classes=[2])

    assert names(judgement)[2:] == ["loss_percentile", "streisand", "class_held_out", "class_forget"]
    assert "from 5 samples" in gate(judgement, "loss_percentile").text
    assert "from 5 samples" in gate(judgement, "streisand").text


def test_with_a_retrained_model_three_more_gates_compare():
    judgement = verdict(CHAMPION, UNSEEN, reference=readings(LABELS, seed=3, trained=("retain",)))

    assert names(judgement)[4:] == ["reference_forget", "reference_retain", "reference_test"]
    assert judgement.passed


# --- what a model says ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("model", ["before", "after", "reference"])
@pytest.mark.parametrize("name", sorted(SIZES))
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e300])
def test_logits_that_are_no_numbers_fail_with_a_reason_and_never_raise(model, name, value):
    models = {"before": CHAMPION, "after": UNSEEN, "reference": UNSEEN}
    models[model] = changed(models[model], name, 3, [0.0, value, 0.0, 0.0])
    judgement = verdict(models["before"], models["after"], reference=models["reference"])

    assert names(judgement) == ["finite"]
    assert not judgement.passed
    assert judgement.gates[0].value == 1.0
    assert judgement.gates[0].passed_before == (model != "before")
    who = {"before": "champion", "after": "candidate", "reference": "retrained reference"}[model]
    assert f"1 samples by the {who} hold NaN, infinity" in judgement.gates[0].text
    assert not any(key.startswith(f"{model}_") for key in judgement.metrics)
    assert any(key.startswith("after_" if model == "before" else "before_") for key in judgement.metrics)
    assert np.isfinite(list(judgement.metrics.values())).all()


def test_a_retrained_candidate_with_nan_fails():
    broken = changed(UNSEEN, "test", 0, np.nan)

    assert not verdict(CHAMPION, broken, retrained=True).passed


@pytest.mark.parametrize("size", [3e38, -3e38])
def test_the_largest_logits_of_float32_can_be_judged(size):
    judgement = verdict(CHAMPION, changed(UNSEEN, "forget", 0, [size, 0.0, -size, 0.0]))

    assert names(judgement) == names(verdict(CHAMPION, UNSEEN))
    assert all(np.isfinite(one.value) for one in judgement.gates)


NUMBERS = st.one_of(st.just(np.nan), st.just(np.inf), st.floats(allow_nan=True, allow_infinity=True, width=32))


@settings(max_examples=40, deadline=None)
@given(
    values=st.lists(NUMBERS, min_size=3, max_size=3),
    forget=st.lists(st.integers(0, 2), min_size=1, max_size=40),
    other=st.lists(st.integers(0, 2), min_size=1, max_size=5),
    classes=st.sets(st.integers(0, 2), max_size=2),
)
def test_whatever_the_logits_there_is_a_judgement_that_can_be_written_as_json(values, forget, other, classes):
    labels = {"forget": np.array(forget), **dict.fromkeys(("retain", "validation", "test"), np.array(other))}
    model = Readings({name: np.tile(np.array(values), (len(truth), 1)) for name, truth in labels.items()}, labels)
    judgement = judge(model, model, CONFIG, forgotten_classes=sorted(classes), reference=model, seed=0)

    assert judgement.gates
    json.dumps([asdict(one) for one in judgement.gates], allow_nan=False)
    json.dumps(judgement.metrics, allow_nan=False)
    assert np.isfinite(values).all() or not judgement.passed


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 1000), few=st.booleans(), class_too=st.booleans())
def test_the_order_of_the_samples_changes_nothing(seed, few, class_too):
    generator = np.random.default_rng(seed)
    labels = {
        name: generator.integers(0, 4, count) for name, count in (SIZES | ({"forget": 12} if few else {})).items()
    }
    before, after, reference = (readings(labels, seed=seed + k, ahead=-1.0, lead=1.0) for k in range(3))
    order = {name: generator.permutation(len(truth)) for name, truth in labels.items()}

    def shuffled(one):
        return Readings(
            {name: one.logits[name][places] for name, places in order.items()},
            {name: one.labels[name][places] for name, places in order.items()},
        )

    options = {"forgotten_classes": [1] if class_too else []}
    first = verdict(before, after, reference=reference, **options)
    second = verdict(shuffled(before), shuffled(after), reference=shuffled(reference), **options)

    assert first == second


# --- metrics ---------------------------------------------------------------------------------------------------------


def test_metrics_are_accuracies_of_all_sets_with_intervals():
    metrics = verdict(right(LABELS, {}), right(LABELS, {"forget": 30, "test": 90})).metrics

    assert metrics["forget_samples"] == 60.0
    assert metrics["before_forget_accuracy"] == metrics["before_test_accuracy_high"] == 100.0
    assert metrics["after_forget_accuracy"] == 50.0
    assert metrics["after_test_accuracy"] == 75.0
    # scipy.stats.binomtest(90, 120).proportion_ci(method="wilson")
    assert metrics["after_test_accuracy_low"] == pytest.approx(66.55886, abs=1e-4)
    assert metrics["after_test_accuracy_high"] == pytest.approx(81.89018, abs=1e-4)
    sets = ("forget", "retain", "validation", "test")
    expected = {
        f"{when}_{one}_accuracy{end}" for when in ("before", "after") for one in sets for end in ("", "_low", "_high")
    }
    assert set(metrics) == expected | {f"{one}_samples" for one in sets}


def test_with_a_forgotten_class_held_out_accuracies_are_given_without_it_too():
    model = right(LABELS, {})
    model = changed(model, "test", LABELS["test"] == 3, [9.0, 0.0, 0.0, 0.0])
    metrics = verdict(model, model, forgotten_classes=[3], reference=model).metrics

    assert metrics["reference_test_accuracy"] == 75.0
    assert metrics["reference_test_accuracy_without_forgotten"] == 100.0
    assert "after_validation_accuracy_without_forgotten" in metrics
    assert "after_forget_accuracy_without_forgotten" not in metrics


# --- what cannot be judged at all -------------------------------------------------------------------------------------


def test_models_read_on_other_samples_are_refused():
    other = readings({**LABELS, "test": LABELS["test"][::-1]})
    with pytest.raises(ValueError, match=r"labels of the test set differ between `before` and `after`; .* same order"):
        verdict(other, UNSEEN)
    with pytest.raises(ValueError, match="`reference` has 5 classes, `after` 4"):
        verdict(CHAMPION, UNSEEN, reference=readings(LABELS, classes=5))
    with pytest.raises(ValueError, match=r"forgotten classes \[4\] do not exist; there are classes 0 to 3"):
        verdict(CHAMPION, UNSEEN, forgotten_classes=[1, 4])


def test_readings_need_all_four_sets_of_one_width():
    logits = dict(CHAMPION.logits)
    with pytest.raises(ValueError, match="of test are missing; the gates need forget, retain, validation, test"):
        Readings({name: one for name, one in logits.items() if name != "test"}, LABELS)
    with pytest.raises(ValueError, match=r"logits of \[4, 5\] classes"):
        Readings({**logits, "test": np.zeros((120, 5))}, LABELS)
    with pytest.raises(ValueError, match="the forget set is empty"):
        Readings({**logits, "forget": np.zeros((0, 4))}, {**LABELS, "forget": np.zeros(0, dtype=np.int64)})


def test_limits_have_bounds():
    assert GatesConfig().class_accuracy is None
    for wrong in (
        {"utility_drop": -1},
        {"auc_margin": 0.5},
        {"auc_low": 0.6},
        {"resamples": 99},
        {"class_accuracy": 101},
    ):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            GatesConfig(**wrong)


# --- the page --------------------------------------------------------------------------------------------------------

PAGE = (Path(__file__).parents[2] / "docs" / "gates.md").read_text(encoding="utf-8")


def test_the_page_names_every_setting_with_its_default():
    for name, value in GatesConfig().model_dump().items():
        if name != "resamples":
            assert f"`{name}: {'null' if value is None else value}`" in PAGE


def test_the_page_names_every_gate():
    few, mixed = labels_of({**SIZES, "forget": 5}), {**LABELS, "forget": np.array([2] * 40 + [0] * 5)}
    judgements = [
        verdict(CHAMPION, changed(UNSEEN, "test", 0, np.nan)),
        verdict(CHAMPION, UNSEEN, reference=UNSEEN),
        verdict(readings(few), readings(few)),
        verdict(readings(mixed), readings(mixed), forgotten_classes=[2]),
    ]
    found = {one for judgement in judgements for one in names(judgement)}

    assert len(found) == 11
    assert all(f"`{one}`" in PAGE for one in found)
    assert found >= HARM
