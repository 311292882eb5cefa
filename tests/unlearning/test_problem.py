import copy
from dataclasses import replace

import pytest
import torch

from qunlearn.unlearning.problem import Data, DataAccessError


@pytest.fixture
def data(problem, original):
    return Data(problem, original, needs={"forget"}, owner="tester")


def test_declared_images_are_handed_out(data, problem):
    inputs, labels = data.pool.batch(data.forget)
    expected, true = problem.pool.batch(problem.forget)
    assert torch.equal(inputs, expected)
    assert torch.equal(labels, true)


@pytest.mark.parametrize(
    "reach",
    [
        lambda data: data.retain,
        lambda data: data.validation,
        lambda data: data.original(),
        lambda data: data.fresh(),
        lambda data: data.recipe,
        lambda data: data.pool.batch(torch.tensor([0, 30])),
    ],
    ids=["retain", "validation", "original", "fresh", "recipe", "images"],
)
def test_reaching_for_anything_undeclared_raises_and_names_the_method(data, reach):
    with pytest.raises(DataAccessError, match="tester reached for"):
        reach(data)


def test_labels_of_undeclared_images_cannot_be_read(data, problem):
    assert (data.pool.labels[problem.retain] == -1).all()
    assert torch.equal(data.pool.labels[problem.forget], problem.pool.labels[problem.forget])


def test_the_guard_survives_a_changed_transform(data):
    other = replace(data.pool, transform=replace(data.pool.transform, flip=True))
    with pytest.raises(DataAccessError):
        other.batch(torch.tensor([30]))


def test_the_original_is_handed_out_as_a_copy_without_shared_storage(problem, original):
    data = Data(problem, original, needs={"original"}, owner="tester")
    before = copy.deepcopy(original.state_dict())
    model = data.original()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(1.0)
    assert all(torch.equal(value, before[name]) for name, value in original.state_dict().items())


@pytest.mark.parametrize("name", ["forget", "retain"])
def test_an_empty_set_is_refused(problem, name):
    with pytest.raises(ValueError, match=f"the {name} set is empty"):
        replace(problem, **{name: torch.empty(0, dtype=torch.int64)})


def test_an_image_in_both_sets_is_refused(problem):
    with pytest.raises(ValueError, match="2 images are in the forget and the retain set, first 8"):
        replace(problem, retain=torch.arange(8, 60))
