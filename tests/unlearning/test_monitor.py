import pytest
import torch

from qunlearn.unlearning.monitor import Monitor, changed_codes, mean_uncertainty


def test_uncertainty_is_one_where_all_classes_are_equally_likely_and_zero_where_one_is_certain():
    assert float(mean_uncertainty(torch.zeros(3, 7))) == pytest.approx(1.0)
    assert float(mean_uncertainty(torch.tensor([[500.0, 0.0, 0.0]]))) == pytest.approx(0.0)


def test_changed_codes_is_a_share():
    before = {"a": torch.tensor([1, 2, 3]), "b": torch.tensor([[4]])}
    after = {"a": torch.tensor([1, 0, 3]), "b": torch.tensor([[4]])}
    assert changed_codes(before, after) == 0.25
    assert changed_codes({}, {}) == 0.0


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
