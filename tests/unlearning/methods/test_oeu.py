import numpy as np
import pytest
import torch

from qunlearn.unlearning import resolve, run


def unlearn(original, problem, **settings):
    config = resolve({"oeu": {"epochs": 2, "batch_size": 25, **settings}})["oeu"]
    return run("oeu", original, problem, config, seed=3)


STEP = [
    "learning_rate", "forget_loss", "retain_loss", "forget_norm", "retain_norm", "projected_norm", "cosine_before",
    "cosine_after", "residual", "conflict", "projected", "removed_fraction", "displacement_cosine",
]  # fmt: skip
EPOCH = [
    "predicted_retain_change", "realised_retain_change", "predicted_held_out_retain_change",
    "realised_held_out_retain_change", "forget_uncertainty", "retain_uncertainty", "validation_uncertainty",
    "code_flips",
    *[f"forget_predicted_{k}" for k in range(4)],
]  # fmt: skip


def test_every_statistic_of_the_definition_is_recorded(problem, original):
    result = unlearn(original, problem)
    for name in STEP:
        assert np.isfinite(result.steps[name]).all(), name
    for row in result.epochs:
        assert all(np.isfinite(row[name]) for name in EPOCH)
    for name in ("forget_norm", "retain_norm", "cosine_before", "cosine_after", "conflict"):
        assert len(result.layers[name]) == len(result.steps["step"]) * len(set(result.layers["layer"]))


def test_layer_scope_records_residual_and_removed_fraction_of_each_layer(problem, original):
    layers = unlearn(original, problem, scope="layer").layers
    np.testing.assert_allclose(layers["removed_fraction"], np.abs(layers["cosine_before"]), atol=1e-9)
    assert layers["residual"].max() < 1e-6


def test_the_forget_loss_needs_no_labels(problem, original):
    """Wrong labels on the forget set change nothing."""
    labels = problem.pool.labels.clone()
    labels[problem.forget] = (labels[problem.forget] + 1) % 4
    other = type(problem)(
        type(problem.pool)(problem.pool.images, labels, problem.pool.transform, 4),
        problem.forget, problem.retain, problem.validation, problem.fresh, problem.recipe,
    )  # fmt: skip
    a, b = (unlearn(original, p).model.state_dict() for p in (problem, other))
    assert all(torch.equal(a[name], value) for name, value in b.items())


@pytest.mark.parametrize("loss", ["entropy", "uniform"])
def test_it_raises_uncertainty_on_the_forget_set_above_fine_tuning(problem, original, loss):
    settings = {"epochs": 5, "learning_rate": 0.02, "forget_loss": loss}
    tuned = unlearn(original, problem, **{"lambda": 0.0}, **settings)
    forgot = unlearn(original, problem, **settings)
    assert forgot.epochs[-1]["forget_uncertainty"] > tuned.epochs[-1]["forget_uncertainty"]


SWITCHES = [
    {"scope": "layer"},
    {"when": "conflict", "scope": "layer"},
    {"strict": True},
    {"memory": 2},
    {"ema": 0.5},
    {"lambda": 0.3},
    {"forget_loss": "uniform"},
    {"lead": "forget"},
]


@pytest.mark.parametrize("settings", SWITCHES, ids=str)
def test_each_setting_changes_the_result(problem, original, settings):
    plain, other = (
        unlearn(original, problem).model.state_dict(),
        unlearn(original, problem, **settings).model.state_dict(),
    )
    assert not all(torch.equal(other[name], value) for name, value in plain.items())


def test_strict_records_what_the_projected_momentum_has_left(problem, original):
    steps = unlearn(original, problem, strict=True).steps
    assert steps["momentum_residual"].max() < 1e-6
    assert "momentum_residual" not in unlearn(original, problem).steps
