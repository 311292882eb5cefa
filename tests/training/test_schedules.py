"""Learning rates: known values, and PyTorch's schedulers as slow references."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from qunlearn.config import TrainingConfig
from qunlearn.training import learning_rate
from qunlearn.training.schedules import cosine, one_cycle


def reference(scheduler, total):
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0, momentum=0.9)
    schedule = scheduler(optimizer)
    rates = []
    for _ in range(total):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    return rates


def test_cosine_known_values():
    assert [cosine(step, 4) for step in range(4)] == pytest.approx([1.0, 0.853553, 0.5, 0.146447], abs=1e-6)


def test_warm_up_rises_linearly_to_the_full_rate_and_then_starts_the_cosine():
    rates = [cosine(step, 8, warmup=4) for step in range(6)]
    assert rates == pytest.approx([0.25, 0.5, 0.75, 1.0, 1.0, 0.853553], abs=1e-6)


def test_one_cycle_known_values():
    assert one_cycle(0, 100) == pytest.approx(0.04)
    assert one_cycle(29, 100) == pytest.approx(1.0)
    assert one_cycle(99, 100) == pytest.approx(4e-6)


@given(total=st.integers(1, 60))
def test_cosine_equals_pytorchs_scheduler(total):
    expected = reference(lambda o: torch.optim.lr_scheduler.CosineAnnealingLR(o, total), total)
    assert [cosine(step, total) for step in range(total)] == pytest.approx(expected, abs=1e-9)


@given(total=st.integers(4, 60))
def test_one_cycle_equals_pytorchs_scheduler(total):
    expected = reference(
        lambda o: torch.optim.lr_scheduler.OneCycleLR(o, 1.0, total_steps=total + 1, cycle_momentum=False), total
    )
    # PyTorch wants a step number beyond the last; the shapes are compared at the length it was told.
    assert [one_cycle(step, total + 1) for step in range(total)] == pytest.approx(expected, abs=1e-9)


@given(total=st.integers(1, 200), schedule=st.sampled_from(["cosine", "one_cycle"]))
def test_every_rate_is_positive_and_at_most_the_configured_one(total, schedule):
    config = TrainingConfig(epochs=total, learning_rate=0.3, schedule=schedule)
    rates = [learning_rate(step, config, steps_per_epoch=1) for step in range(total)]
    assert all(0.0 < rate <= 0.3 + 1e-12 for rate in rates)


def test_warm_up_is_counted_in_epochs():
    config = TrainingConfig(epochs=4, learning_rate=1.0, warmup_epochs=0.5)
    assert [learning_rate(step, config, steps_per_epoch=4) for step in range(3)] == pytest.approx([0.5, 1.0, 1.0])
