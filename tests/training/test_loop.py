"""The training loop on a small separable problem."""

import copy
import math

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from qunlearn.config import ConfigError, ModelConfig, QuantizationConfig, TrainingConfig
from qunlearn.data.batches import ImagePool, Transform, infer, shuffled_batches
from qunlearn.models import build
from qunlearn.quantization import quantize
from qunlearn.training import DivergedError, resolve_device, steps_per_epoch, train

DEVICES = [
    "cpu",
    pytest.param(
        "cuda",
        marks=[pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")],
    ),
]
QUANTIZERS = ["none", "lsq", "pact", "dsq", "brevitas"]


def pool_of(count=48, *, device="cpu", crop_padding=0, flip=False, channels_last=False):
    """Two classes: the bright half of an 8 x 8 image is above or below."""
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 100, (count, 1, 8, 8), generator=generator, dtype=torch.uint8)
    labels = torch.arange(count) % 2
    images[labels == 0, :, :4] += 120
    images[labels == 1, :, 4:] += 120
    transform = Transform((0.4,), (0.3,), crop_padding=crop_padding, flip=flip)
    return ImagePool(images.to(device), labels.to(device), transform, 2, channels_last=channels_last)


def config_of(**changes):
    settings = {"epochs": 3, "batch_size": 16, "learning_rate": 0.05, "crop_padding": 0, "flip": False}
    return TrainingConfig(**(settings | changes))


def network(seed=0, *, quantizer="none", width=4):
    model = build(ModelConfig(width=width), classes=2, channels=1, image_size=8, seed=seed)
    return quantize(model, QuantizationConfig(quantizer=quantizer))


def trained(*, seed=0, quantizer="none", device="cpu", channels_last=False, **changes):
    config = config_of(channels_last=channels_last, **changes)
    pool = pool_of(device=device, crop_padding=config.crop_padding, flip=config.flip, channels_last=channels_last)
    model = network(quantizer=quantizer)
    result = train(model, pool, torch.arange(len(pool)), config, seed=seed)
    return model, pool, result


def same_state(a, b):
    return all(torch.equal(x, y) for x, y in zip(a.state_dict().values(), b.state_dict().values(), strict=True))


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("quantizer", QUANTIZERS)
def test_training_learns_the_task(quantizer, device):
    model, pool, result = trained(quantizer=quantizer, device=device, epochs=6)
    logits = infer(model, pool, torch.arange(len(pool)))
    assert (logits.argmax(1) == pool.labels).float().mean() >= 0.95
    assert result.epochs[-1]["loss"] < result.epochs[0]["loss"]


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("quantizer", QUANTIZERS)
def test_same_seed_gives_bit_identical_weights(quantizer, device):
    changes = {"quantizer": quantizer, "device": device, "crop_padding": 1, "flip": True, "epochs": 2}
    torch.manual_seed(1)
    first, *_ = trained(**changes)
    torch.manual_seed(2)
    again, *_ = trained(**changes)
    assert same_state(first, again)
    assert not same_state(first, trained(**changes, seed=1)[0])


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize(
    "changes",
    [
        {"precision": "bf16"},
        {"channels_last": True},
        {"precision": "bf16", "channels_last": True},
        {"schedule": "one_cycle"},
        {"warmup_epochs": 1.5},
        {"label_smoothing": 0.1},
        {"momentum": 0.0, "nesterov": False},
        {"crop_padding": 1, "flip": True},
    ],
    ids=str,
)
def test_every_option_trains(changes, device):
    _, _, result = trained(device=device, **({"epochs": 5} | changes))
    assert result.epochs[-1]["loss"] < result.epochs[0]["loss"]
    assert all(math.isfinite(value) for row in result.epochs for value in row.values())


def test_loop_equals_a_plain_loop_with_pytorchs_own_parts():
    """The slow reference: SGD without fusion, a scheduler, cross-entropy, the loss read in every step."""
    config = config_of(epochs=2, label_smoothing=0.1)
    pool, model = pool_of(40), network()
    expected = copy.deepcopy(model)
    optimizer = torch.optim.SGD(expected.parameters(), 0.05, 0.9, weight_decay=5e-4, nesterov=True, foreach=False)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 2 * 3)
    generator, losses = torch.Generator().manual_seed(7), []
    for _ in range(2):
        for part in shuffled_batches(torch.arange(40), 16, generator=generator):
            inputs, labels = pool.batch(part, augment=generator)
            loss = F.cross_entropy(expected(inputs), labels, label_smoothing=0.1)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            scheduler.step()
            losses.append(loss.item() * len(part) / 40)
    result = train(model, pool, torch.arange(40), config, seed=7)
    for name, value in model.state_dict().items():
        torch.testing.assert_close(value, expected.state_dict()[name], rtol=1e-4, atol=1e-6)
    assert [row["loss"] for row in result.epochs] == pytest.approx([sum(losses[:3]), sum(losses[3:])], rel=1e-5)


def test_only_the_images_at_the_indices_are_seen():
    pool, config = pool_of(), config_of()
    chosen = torch.arange(0, 48, 3)
    models = [network(), network()]
    train(models[0], pool, chosen, config, seed=0)
    pool.images[1::3] = 255
    train(models[1], pool, chosen, config, seed=0)
    assert same_state(*models)


def test_result_counts_steps_and_samples_and_has_a_row_per_epoch():
    _, _, result = trained(epochs=3, batch_size=20)
    assert (result.steps, result.samples, len(result.epochs)) == (9, 144, 3)
    assert [row["epoch"] for row in result.epochs] == [1.0, 2.0, 3.0]
    assert set(result.epochs[0]) == {"epoch", "loss", "accuracy", "learning_rate", "seconds"}
    assert result.seconds >= sum(row["seconds"] for row in result.epochs)


@pytest.mark.parametrize(("images", "batch_size"), [(1, 4), (4, 4), (5, 4), (9, 4), (6, 4), (3, 1), (7, 100)])
def test_steps_per_epoch_counts_the_batches(images, batch_size):
    parts = list(shuffled_batches(torch.arange(images), batch_size, generator=torch.Generator()))
    assert steps_per_epoch(images, batch_size) == len(parts)


def test_progress_hears_of_every_epoch():
    heard = []
    train(network(), pool_of(), torch.arange(48), config_of(), seed=0, progress=heard.append)
    assert [(stats.epoch, stats.epochs) for stats in heard] == [(1, 3), (2, 3), (3, 3)]


def test_loss_is_read_once_an_epoch(monkeypatch):
    read = []
    plain = torch.Tensor.tolist
    monkeypatch.setattr(torch.Tensor, "tolist", lambda self: read.append(self.shape) or plain(self))
    monkeypatch.setattr(torch.Tensor, "item", lambda _: pytest.fail("a step waits for the device"))
    trained(epochs=2)
    assert read == [torch.Size([2])] * 2


def test_explosion_stops_with_epoch_rate_and_advice():
    with pytest.raises(DivergedError) as error:
        trained(learning_rate=1e30, schedule="cosine")
    assert error.value.epoch == 1
    assert error.value.learning_rate > 1e28
    message = str(error.value)
    assert "diverged in epoch 1 of 3 at learning rate" in message
    assert "lower training.learning_rate" in message
    assert "\n" not in message


def test_weights_that_explode_in_the_last_step_are_found():
    class LastStep(nn.Module):
        """Its loss is finite while its gradient is not: the derivative of a root at 0."""

        def __init__(self):
            super().__init__()
            self.weight = nn.Parameter(torch.zeros(2))

        def forward(self, x):
            return self.weight.sqrt() + 0.0 * x.flatten(1)[:, :2]

    with pytest.raises(DivergedError, match="a weight is not finite"):
        train(LastStep(), pool_of(4), torch.arange(4), config_of(epochs=1), seed=0)


def test_no_images_is_an_error():
    with pytest.raises(ValueError, match="no images to train on"):
        train(network(), pool_of(), torch.arange(0), config_of(), seed=0)


def test_pool_that_augments_otherwise_than_the_recipe_is_refused():
    with pytest.raises(ValueError, match="crop_padding=0, flip=False, the recipe says crop_padding=4"):
        train(network(), pool_of(), torch.arange(48), config_of(crop_padding=4), seed=0)


def test_device_auto_is_what_there_is_and_missing_cuda_is_one_line(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert resolve_device("auto") == resolve_device("cpu") == torch.device("cpu")
    with pytest.raises(ConfigError, match=r"training\.device = 'cuda': no CUDA device is available; use auto or cpu"):
        resolve_device("cuda")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert resolve_device("auto") == torch.device("cuda")
