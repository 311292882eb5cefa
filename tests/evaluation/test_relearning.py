"""Steps until the forgotten images are back."""

import copy

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from qunlearn.checkpoint import Blueprint
from qunlearn.config import ModelConfig, QuantizationConfig, RelearnConfig
from qunlearn.data.batches import ImagePool, Transform, infer
from qunlearn.evaluation.relearning import Relearned, relearn

CONFIG = RelearnConfig(limit=60, learning_rate=0.1, batch_size=8)
SLOW = RelearnConfig(limit=60, learning_rate=0.005, batch_size=8)
FORGET = torch.arange(5, 29)


@pytest.fixture(scope="module")
def pool():
    """40 images of 3 classes: noise around a bright third of the image."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(40) % 3
    images = torch.randint(120, (40, 1, 9, 9), generator=generator)
    for index, label in enumerate(labels.tolist()):
        images[index, :, 3 * label : 3 * label + 3] += 100
    return ImagePool(images.to(torch.uint8), labels, Transform(mean=(0.5,), std=(0.25,)), classes=3)


def linear():
    """A linear network that calls every image the next class."""
    model = nn.Sequential(nn.Flatten(), nn.Linear(81, 3))
    thirds = torch.zeros(3, 9, 9)
    for label in range(3):
        thirds[(label + 1) % 3, 3 * label : 3 * label + 3] = 0.05
    with torch.no_grad():
        model[1].weight.copy_(thirds.flatten(1))
        model[1].bias.zero_()
    return model


def network(pool, quantizer):
    config = QuantizationConfig(quantizer=quantizer)
    model = Blueprint(ModelConfig(width=4), config, classes=3, channels=1, image_size=9).build(seed=1)
    model(pool.batch(torch.arange(40))[0])  # first scales and running statistics
    return model.eval()


def percent(model, pool):
    return 100 * (infer(model, pool, FORGET).argmax(1) == pool.labels[FORGET]).double().mean().item()


def test_full_batch_steps_are_those_of_gradient_descent_written_out(pool):
    config = RelearnConfig(limit=50, learning_rate=0.005, batch_size=24)
    model = linear()
    inputs, labels = pool.batch(FORGET)
    expected = 0
    while percent(model, pool) < 90:
        gradients = torch.autograd.grad(F.cross_entropy(model(inputs), labels), list(model.parameters()))
        with torch.no_grad():
            for parameter, gradient in zip(model.parameters(), gradients, strict=True):
                parameter -= 0.005 * gradient
        expected += 1

    assert 3 < expected < 50
    assert relearn(linear(), pool, FORGET, target=90.0, config=config, seed=0) == Relearned(expected, reached=True)


def test_a_model_that_is_there_already_needs_no_step(pool):
    model = network(pool, "none")

    assert relearn(model, pool, FORGET, target=percent(model, pool), config=CONFIG, seed=0) == Relearned(0, True)
    assert relearn(model, pool, FORGET, target=-0.5, config=CONFIG, seed=0) == Relearned(0, True)


def test_the_limit_is_the_last_step_that_is_looked_at(pool):
    needed = relearn(linear(), pool, FORGET, target=100.0, config=SLOW, seed=0)
    assert needed.reached
    assert needed.steps > 3

    at_limit, below = (SLOW.model_copy(update={"limit": needed.steps - short}) for short in (0, 1))
    assert relearn(linear(), pool, FORGET, target=100.0, config=at_limit, seed=0) == needed
    assert relearn(linear(), pool, FORGET, target=100.0, config=below, seed=0) == Relearned(needed.steps - 1, False)


@pytest.mark.parametrize("quantizer", ["lsq", "pact", "dsq", "brevitas", "none"])
def test_the_model_stays_bit_identical_and_the_seed_decides(pool, quantizer):
    model = network(pool, quantizer)
    before = copy.deepcopy(model.state_dict())
    flags = [parameter.requires_grad for parameter in model.parameters()]

    first, second = (relearn(model, pool, FORGET, target=95.0, config=CONFIG, seed=3) for _ in range(2))

    assert first == second
    assert first.steps > 0
    after = model.state_dict()
    assert after.keys() == before.keys()
    assert all(torch.equal(after[name], before[name]) for name in before)
    assert [parameter.requires_grad for parameter in model.parameters()] == flags
    assert all(parameter.grad is None for parameter in model.parameters())


def test_batch_norm_uses_its_running_statistics_in_every_step(pool, monkeypatch):
    real, from_batches = F.batch_norm, []

    def recorded(x, mean, variance, weight, bias, training, *rest):
        from_batches.append(training)
        return real(x, mean, variance, weight, bias, training, *rest)

    monkeypatch.setattr(F, "batch_norm", recorded)
    found = relearn(network(pool, "none"), pool, FORGET, target=95.0, config=CONFIG, seed=0)

    assert found.steps > 0
    in_relearning = from_batches[from_batches.index(False) :]  # before that, the network was set up
    assert in_relearning
    assert not any(in_relearning)


def test_works_where_the_caller_has_switched_gradients_off(pool):
    expected = relearn(linear(), pool, FORGET, target=100.0, config=SLOW, seed=0)
    with torch.no_grad():
        assert relearn(linear(), pool, FORGET, target=100.0, config=SLOW, seed=0) == expected


def test_the_device_is_read_once_a_step(pool, monkeypatch):
    read = []
    for name in ("item", "tolist", "__float__", "__bool__"):
        real = getattr(torch.Tensor, name)
        monkeypatch.setattr(torch.Tensor, name, lambda self, real=real, name=name: (read.append(name), real(self))[1])

    found = relearn(linear(), pool, FORGET, target=100.0, config=SLOW, seed=0)

    assert found.steps > 3
    assert len(read) <= found.steps + 1


def test_divergence_is_an_error_that_names_the_learning_rate(pool):
    config = RelearnConfig(limit=20, learning_rate=1e38)
    with pytest.raises(ValueError, match=r"diverged in step \d+ at learning rate 1e\+38; lower evaluate\.relearn"):
        relearn(linear(), pool, FORGET, target=100.0, config=config, seed=0)


def test_nothing_to_learn_and_an_impossible_target_are_refused(pool):
    with pytest.raises(ValueError, match="no forget images"):
        relearn(linear(), pool, FORGET[:0], target=50.0, config=CONFIG, seed=0)
    with pytest.raises(ValueError, match=r"target = 101\.0"):
        relearn(linear(), pool, FORGET, target=101.0, config=CONFIG, seed=0)
