"""Every figure of a cell is explained, and nothing is explained that no cell has."""

import inspect

import numpy as np
import pytest

from qunlearn.config import EvaluateConfig
from qunlearn.evaluation import assemble, measure
from qunlearn.evaluation.catalogue import CATALOGUE, IDEALS, INTERVAL_SUFFIXES, UNITS

SIZES = {
    "forget": 40, "retain": 200, "validation": 40, "test": 80, "adjacent": 60, "remote": 140,
    "test_forget": 20, "test_adjacent": 20, "test_remote": 40,
}  # fmt: skip

MEASURED_ON_A_MODEL = {"relearn_steps", "peak_memory_mb", "code_flips", "scale_drift", "batchnorm_drift"}
"""What the stage `evaluate` adds to the figures from logits: it needs networks, or the process that trained them."""


def drawn(seed):
    generator = np.random.default_rng(seed)
    return {name: generator.normal(size=(size, 5)) for name, size in SIZES.items()}


@pytest.fixture(scope="module")
def figures():
    """The figures of one method, with everything on that logits allow."""
    labels = {name: np.arange(size) % 5 for name, size in SIZES.items()}
    shadows = [drawn(seed) for seed in (10, 11)]
    stats = {"seconds": 2.0, "forget_passes": 1.0, "retain_passes": 1.0, "peak_memory_mb": 5.0}
    cells = [
        {
            "method": method,
            "seed": 0,
            "scenario": "subclass",
            "metrics": measure(
                drawn(seed),
                labels,
                config=EvaluateConfig(bootstrap=20),
                forgotten_classes=[1],
                reference=drawn(1),
                shadows=shadows,
            ),
            "stats": stats,
            "run_id": "",
        }
        for seed, method in ((1, "retrain"), (2, "some_method"))
    ]
    return next(c["metrics"] for c in assemble(cells, {})["cells"] if c["method"] == "some_method")


def test_the_catalogue_has_exactly_the_figures_of_a_cell(figures):
    explained = {name for name in figures if not name.endswith(INTERVAL_SUFFIXES)}

    assert explained | MEASURED_ON_A_MODEL == CATALOGUE.keys()
    assert not explained & MEASURED_ON_A_MODEL


def test_an_interval_belongs_to_a_figure_of_the_catalogue(figures):
    ends = [name for name in figures if name.endswith(INTERVAL_SUFFIXES)]

    assert len(ends) == 12
    assert {name.removesuffix("_low").removesuffix("_high") for name in ends} <= CATALOGUE.keys()


def test_values_lie_in_the_range_of_their_unit(figures):
    highest = {"percent": 100.0, "share": 1.0, "points": 100.0}
    for name, metric in CATALOGUE.items():
        if name in figures:
            assert -1e-9 <= figures[name] <= highest.get(metric.unit, np.inf) + 1e-9, name


@pytest.mark.parametrize("name", CATALOGUE)
def test_an_entry_is_complete_and_one_sentence(name):
    metric = CATALOGUE[name]

    assert metric.name == name
    assert metric.unit in UNITS
    assert metric.ideal in IDEALS
    assert metric.definition.endswith(".")
    assert metric.definition[0].isupper()
    assert ". " not in metric.definition
    assert metric.title
    assert 0 < len(metric.short) <= 25
    if metric.function is not None:
        assert metric.function.__module__.startswith("qunlearn.")
        assert inspect.getdoc(metric.function)


@pytest.mark.parametrize("field", ["title", "short", "definition"])
def test_no_two_figures_are_called_the_same(field):
    texts = [getattr(metric, field) for metric in CATALOGUE.values()]

    assert len(set(texts)) == len(texts)


def test_a_group_is_not_interrupted_by_another():
    groups = [metric.group for metric in CATALOGUE.values()]
    runs = [group for before, group in zip([None, *groups], groups, strict=False) if group != before]

    assert runs == [
        "accuracy", "membership", "closeness to retraining", "uncertainty", "drift", "entanglement", "cost",
    ]  # fmt: skip
