"""All figures of one model."""

import time

import numpy as np
import pytest
from scipy.spatial.distance import jensenshannon
from scipy.special import log_softmax, rel_entr, softmax

from qunlearn.config import EvaluateConfig
from qunlearn.evaluation import measure

CONFIG = EvaluateConfig(bootstrap=50)


def model(*, seed=0, sizes=(("forget", 40), ("retain", 300), ("validation", 30), ("test", 100)), lift=2.0):
    """Logits of a model that is surer of training samples (forget, retain) than of others."""
    generator = np.random.default_rng(seed)
    logits, labels = {}, {}
    for name, count in sizes:
        labels[name] = np.arange(count) % 5
        logits[name] = generator.normal(size=(count, 5)).astype(np.float32)
        logits[name][np.arange(count), labels[name]] += lift + 3.0 * (name in ("forget", "retain"))
    return logits, labels


def test_metrics_are_flat_finite_floats_under_their_names():
    metrics = measure(*model(), config=CONFIG)

    assert {
        "forget_accuracy", "retain_accuracy", "validation_accuracy", "test_accuracy", "mia_confidence",
        "mia_auc", "mia_auc_low", "mia_auc_high", "mia_auc_margin", "mia_tpr_at_1fpr", "mia_tpr_at_1fpr_margin_high",
        "forget_entropy", "test_max_probability", "forget_concentration", "forget_samples",
    } <= metrics.keys()  # fmt: skip
    assert all(type(value) is float and np.isfinite(value) for value in metrics.values())
    assert metrics["forget_samples"] == 40


def test_a_model_that_remembers_is_found_by_every_attack():
    remembers = measure(*model(), config=CONFIG)
    sizes = (("forget", 40), ("retain", 300), ("test", 100))
    logits, labels = model(sizes=sizes)
    logits["forget"] = model(seed=9, sizes=(("test", 40),))[0]["test"]
    forgot = measure(logits, labels, config=CONFIG)

    assert remembers["mia_auc"] > 0.85 > 0.65 > forgot["mia_auc"] > 0.35
    assert remembers["mia_auc_margin"] > 0.85
    assert remembers["mia_auc_low"] < remembers["mia_auc"] < remembers["mia_auc_high"]
    assert remembers["mia_confidence"] < forgot["mia_confidence"]


def test_result_depends_on_the_seed_of_the_configuration_alone():
    assert measure(*model(), config=CONFIG) == measure(*model(), config=CONFIG)
    other = measure(*model(), config=EvaluateConfig(bootstrap=50, seed=1))
    assert other["mia_confidence"] == measure(*model(), config=CONFIG)["mia_confidence"]


def test_without_resamples_there_are_no_intervals():
    assert not any(name.endswith(("_low", "_high")) for name in measure(*model(), config=EvaluateConfig(bootstrap=0)))


def test_class_forgetting_reports_test_accuracy_with_and_without_the_class():
    logits, labels = model()
    keep = labels["test"] != 3
    metrics = measure(logits, labels, config=CONFIG, forgotten_classes=[3])

    expected = 100 * (logits["test"][keep].argmax(1) == labels["test"][keep]).mean()
    assert metrics["test_accuracy_without_forgotten"] == pytest.approx(expected)
    assert "test_accuracy_without_forgotten" not in measure(logits, labels, config=CONFIG)


def test_adjacent_and_remote_accuracy_come_with_their_subsets():
    sizes = (("forget", 20), ("retain", 60), ("test", 30), ("adjacent", 25), ("remote", 35))

    assert {"adjacent_accuracy", "remote_accuracy"} <= measure(*model(sizes=sizes), config=CONFIG).keys()


def test_entanglement_accuracies_of_training_and_test_images_come_under_their_names():
    names = ("adjacent", "remote", "test_forget", "test_adjacent", "test_remote")
    logits, labels = model(sizes=(("forget", 20), ("retain", 60), ("test", 30), *((name, 25) for name in names)))
    logits["test_adjacent"] = -logits["test_adjacent"]
    metrics = measure(logits, labels, config=CONFIG)

    for name in names:
        expected = 100 * (logits[name].argmax(1) == labels[name]).mean()
        assert metrics[f"{name}_accuracy"] == pytest.approx(expected)
    assert metrics["test_adjacent_accuracy"] < metrics["test_forget_accuracy"]


def test_all_five_attacks_of_the_field_are_measured():
    metrics = measure(*model(), config=CONFIG)

    for name in ("confidence", "correctness", "entropy", "modified_entropy", "full"):
        assert 0.0 <= metrics[f"mia_{name}"] <= 100.0


COMPARISON = {
    "prediction_agreement_forget", "prediction_agreement_test", "kl_to_retrain_forget", "kl_to_retrain_test",
    "js_to_retrain_forget", "js_to_retrain_test", "w2_loss",
}  # fmt: skip


def test_a_model_is_no_distance_from_itself():
    logits, labels = model()
    metrics = measure(logits, labels, config=CONFIG, reference=logits)

    assert metrics.keys() >= COMPARISON
    assert metrics["prediction_agreement_forget"] == metrics["prediction_agreement_test"] == 100.0
    for name in COMPARISON - {"prediction_agreement_forget", "prediction_agreement_test"}:
        assert metrics[name] == pytest.approx(0.0, abs=1e-12)


def test_distances_to_the_reference_are_those_of_its_logits_with_the_reference_first():
    (logits, labels), (reference, _) = model(), model(seed=3)
    metrics = measure(logits, labels, config=CONFIG, reference=reference)

    for name in ("forget", "test"):
        p, r = (softmax(source[name].astype(float), axis=1) for source in (logits, reference))
        assert metrics[f"kl_to_retrain_{name}"] == pytest.approx(rel_entr(r, p).sum(1).mean())
        assert metrics[f"js_to_retrain_{name}"] == pytest.approx((jensenshannon(p, r, axis=1) ** 2).mean())
        assert metrics[f"prediction_agreement_{name}"] == 100 * (p.argmax(1) == r.argmax(1)).mean()
    rows = np.arange(40), labels["forget"]
    own, other = (np.sort(-log_softmax(s["forget"].astype(float), axis=1)[rows]) for s in (logits, reference))
    assert metrics["w2_loss"] == pytest.approx(np.sqrt(((own - other) ** 2).mean()))
    assert not COMPARISON & measure(logits, labels, config=CONFIG).keys()


def test_a_reference_changes_no_other_metric():
    logits, labels = model()
    alone = measure(logits, labels, config=CONFIG)
    compared = measure(logits, labels, config=CONFIG, reference=model(seed=3)[0])

    assert {name: compared[name] for name in alone} == alone


def test_an_unusable_reference_is_refused_by_name():
    logits, labels = model()
    with pytest.raises(ValueError, match="logits of the reference lack test; forget and test are needed"):
        measure(logits, labels, config=CONFIG, reference={"forget": logits["forget"]})
    wide = {name: np.pad(values, ((0, 0), (0, 1))) for name, values in logits.items()}
    with pytest.raises(ValueError, match="the reference has 6 classes on the forget set, the model 5"):
        measure(logits, labels, config=CONFIG, reference=wide)
    with pytest.raises(ValueError, match="labels of the forget set under the reference"):
        measure(logits, labels, config=CONFIG, reference={**logits, "forget": logits["forget"][1:]})


def test_shadow_models_add_the_likelihood_ratio_attack_with_its_intervals():
    logits, labels = model()
    shadows = [model(seed=seed, lift=2.0)[0] for seed in (1, 2, 3)]
    for shadow, seed in zip(shadows, (4, 5, 6), strict=True):
        shadow["forget"] = model(seed=seed, sizes=(("test", 40),))[0]["test"]
    metrics = measure(logits, labels, config=CONFIG, shadows=shadows)

    assert metrics["lira_auc_low"] <= metrics["lira_auc"] <= metrics["lira_auc_high"]
    assert metrics["lira_auc"] > 0.85
    assert {"lira_tpr_at_1fpr", "lira_tpr_at_1fpr_low", "lira_tpr_at_1fpr_high"} <= metrics.keys()
    assert not any(name.startswith("lira") for name in measure(logits, labels, config=CONFIG))


def test_one_shadow_model_and_unusable_ones_are_refused():
    logits, labels = model()
    with pytest.raises(ValueError, match="1 shadow models give no variance"):
        measure(logits, labels, config=CONFIG, shadows=[logits])
    with pytest.raises(ValueError, match="logits of shadow model 1 lack forget"):
        measure(logits, labels, config=CONFIG, shadows=[logits, {"test": logits["test"]}])


def test_missing_empty_and_diverged_subsets_are_refused_by_name():
    logits, labels = model()
    with pytest.raises(ValueError, match=r"forget, retain, test among them"):
        measure({"test": logits["test"]}, {"test": labels["test"]}, config=CONFIG)
    with pytest.raises(ValueError, match="the forget set is empty"):
        measure({**logits, "forget": logits["forget"][:0]}, {**labels, "forget": labels["forget"][:0]}, config=CONFIG)
    logits["test"][7, 2] = np.nan
    with pytest.raises(ValueError, match="the test set hold NaN or infinity in 1 of 100 samples, first in sample 7"):
        measure(logits, labels, config=CONFIG)


@pytest.mark.slow
def test_a_thousand_resamples_of_a_benchmark_sized_set_take_seconds():
    sizes = (("forget", 4500), ("retain", 20000), ("test", 10000))
    start = time.perf_counter()

    measure(*model(sizes=sizes), config=EvaluateConfig())

    assert time.perf_counter() - start < 60
