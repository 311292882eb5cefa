"""Mistake 4 of the field: batches of forget images alone rewrote the BatchNorm statistics."""

import copy

import pytest
import torch

from qunlearn.unlearning import resolve, run
from qunlearn.unlearning.batch_norm import BatchNormGuard


def statistics(model):
    return {name: b.clone() for name, b in model.named_buffers() if "running" in name or "batches_tracked" in name}


def same(a, b):
    return all(torch.equal(a[name], b[name]) for name in a)


def test_ascent_on_forget_batches_keeps_every_statistic_and_training_mode_would_not(problem, original):
    before = statistics(original)
    config = resolve({"gradient_ascent": {"epochs": 2, "batch_size": 4, "learning_rate": 0.01}})["gradient_ascent"]
    assert same(before, statistics(run("gradient_ascent", original, problem, config, seed=0).model))

    wrong = copy.deepcopy(original).train()
    wrong(problem.pool.batch(problem.forget)[0])
    assert not same(before, statistics(wrong))


@pytest.mark.parametrize("method", ["neg_grad_plus", "random_label", "qmul", "oeu"])
@pytest.mark.parametrize("policy", ["retain_only", "recalibrate"])
def test_no_forget_image_enters_a_statistic(problem, original, method, policy):
    """With a learning rate of 0 only forward passes are left: other forget images must give the same statistics."""
    settings = {"epochs": 1, "batch_size": 16, "learning_rate": 0.0, "batch_norm": policy}
    config = resolve({method: settings})[method]
    pool = problem.pool
    brighter = pool.images.clone()
    brighter[problem.forget] = 255 - brighter[problem.forget]
    other = copy.copy(problem)
    object.__setattr__(other, "pool", copy.copy(pool))
    object.__setattr__(other.pool, "images", brighter)
    found = [statistics(run(method, original, p, config, seed=0).model) for p in (problem, other)]
    assert same(*found)
    assert not same(found[0], statistics(original))


def test_retained_batches_update_the_statistics_and_forget_batches_do_not(problem, original):
    guard = BatchNormGuard(original, "retain_only")
    inputs = problem.pool.batch(problem.forget)[0]
    before = statistics(original)
    guard.prepare("forget", len(inputs))
    original(inputs)
    assert same(before, statistics(original))
    guard.prepare("retain", len(inputs))
    original(inputs)
    assert not same(before, statistics(original))


def test_a_single_retained_image_has_no_statistics(problem, original):
    guard = BatchNormGuard(original, "retain_only")
    before = statistics(original)
    guard.prepare("retain", 1)
    original(problem.pool.batch(problem.retain[:1])[0])
    assert same(before, statistics(original))


def test_a_guarded_measurement_leaves_the_statistics_bit_identical_although_it_trains(problem, original):
    guard = BatchNormGuard(original, "retain_only")
    before = statistics(original)
    with guard.untouched():
        guard.prepare("retain", 10)
        original(problem.pool.batch(problem.retain[:10])[0])
        assert not same(before, statistics(original))
    assert same(before, statistics(original))


def test_recalibration_estimates_the_mean_over_batches(problem, original):
    guard = BatchNormGuard(original, "recalibrate")
    seen = []
    hook = original.bn.register_forward_pre_hook(lambda _, args: seen.append(args[0].mean((0, 2, 3))))
    guard.recalibrate(original, problem.pool, problem.retain, batch_size=20, generator=torch.Generator().manual_seed(0))
    hook.remove()
    torch.testing.assert_close(original.bn.running_mean, torch.stack(seen).mean(0))
    assert original.bn.momentum == 0.1
    assert not original.bn.training
