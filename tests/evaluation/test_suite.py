"""All figures of one model."""

import time

import numpy as np
import pytest

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
