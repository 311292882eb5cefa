import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from qunlearn.data.batches import infer
from qunlearn.unlearning.monitor import QUANTILES, Monitor, changed_codes, loss_quantiles, mean_uncertainty


def test_uncertainty_is_one_where_all_classes_are_equally_likely_and_zero_where_one_is_certain():
    assert float(mean_uncertainty(torch.zeros(3, 7))) == pytest.approx(1.0)
    assert float(mean_uncertainty(torch.tensor([[500.0, 0.0, 0.0]]))) == pytest.approx(0.0)


def test_changed_codes_is_a_share():
    before = {"a": torch.tensor([1, 2, 3]), "b": torch.tensor([[4]])}
    after = {"a": torch.tensor([1, 0, 3]), "b": torch.tensor([[4]])}
    assert changed_codes(before, after) == 0.25
    assert changed_codes({}, {}) == 0.0


def test_quantiles_of_eleven_losses_are_read_off_with_steps_of_a_tenth():
    # The k-th of eleven sorted losses is their quantile 10 k %: 5 % lies half-way between the first and the second.
    found = loss_quantiles(torch.tensor([9.0, 0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 50.0]))
    assert found == pytest.approx({"p05": 0.5, "p25": 2.5, "p50": 5.0, "p75": 7.5, "p95": 29.5})


def test_all_quantiles_of_one_loss_are_that_loss():
    assert loss_quantiles(torch.tensor([0.25])) == dict.fromkeys(("p05", "p25", "p50", "p75", "p95"), 0.25)


@given(st.lists(st.floats(0.0, 1e4), min_size=1, max_size=40))
def test_quantiles_are_those_of_numpy(losses):
    found = loss_quantiles(torch.tensor(losses, dtype=torch.float64))
    assert list(found.values()) == pytest.approx(np.percentile(losses, QUANTILES).tolist())


def test_correct_shares_and_losses_are_those_of_a_direct_count(problem, original):
    with torch.no_grad():
        original.fc.weight.mul_(-1.0)  # some images right and some wrong
        original.fc.weight[0].mul_(-1.0)
    row = Monitor(problem, original)(original)
    for name in ("forget", "retain", "validation"):
        indices = getattr(problem, name)
        logits = infer(original, problem.pool, indices).double().numpy()
        labels = problem.pool.labels[indices].numpy()
        right = [int(one.argmax()) == int(label) for one, label in zip(logits, labels, strict=True)]
        assert row[f"{name}_correct"] == pytest.approx(sum(right) / len(right))
        assert 0 < sum(right) < len(right), f"{name}: the count must be able to be wrong"
    indices = problem.forget
    logits = infer(original, problem.pool, indices).double().numpy()
    labels = problem.pool.labels[indices].numpy()
    losses = np.log(np.exp(logits).sum(1)) - logits[np.arange(len(labels)), labels]
    for percent, value in zip(QUANTILES, np.percentile(losses, QUANTILES), strict=True):
        assert row[f"forget_loss_p{percent:02d}"] == pytest.approx(value, rel=1e-6)


def test_at_most_so_many_images_are_measured_and_always_the_same(problem, original):
    few = Monitor(problem, original, images=3)
    first = few(original)
    assert round(first["forget_correct"] * 3, 6) in (0.0, 1.0, 2.0, 3.0)
    assert few(original) == Monitor(problem, original, images=3)(original) == first


def test_the_figures_of_an_epoch(problem, original):
    monitor = Monitor(problem, original)
    row = monitor(original)
    assert row["code_flips"] == 0.0
    assert sum(row[f"forget_predicted_{k}"] for k in range(4)) == pytest.approx(1.0)
    for name in ("forget", "retain", "validation"):
        assert 0.0 < row[f"{name}_uncertainty"] < 1.0
    with torch.no_grad():
        original.fc.weight.mul_(-1.0)
    assert monitor(original)["code_flips"] > 0.0


def test_measuring_changes_nothing(problem, original):
    before = {name: value.clone() for name, value in original.state_dict().items()}
    Monitor(problem, original)(original)
    assert all(torch.equal(value, before[name]) for name, value in original.state_dict().items())
