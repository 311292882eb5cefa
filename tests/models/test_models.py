"""Networks by name: shapes, counts, determinism, errors."""

import threading

import pytest
import torch
from torch import nn

from qunlearn.config import ConfigError, ModelConfig
from qunlearn.models import build, construction_lock, names, trace


def built(name="resnet8", *, width=16, classes=10, channels=3, image_size=32, seed=0):
    return build(
        ModelConfig(name=name, width=width), classes=classes, channels=channels, image_size=image_size, seed=seed
    )


def same_state(a, b):
    return all(torch.equal(x, y) for x, y in zip(a.state_dict().values(), b.state_dict().values(), strict=True))


def convolutions(model):
    return [module for module in model.modules() if isinstance(module, nn.Conv2d)]


@pytest.mark.parametrize("name", ["resnet8", "resnet20"])
@pytest.mark.parametrize(("channels", "image_size"), [(1, 8), (1, 9), (3, 32)])
def test_family_takes_images_from_8_to_32_pixels(name, channels, image_size):
    model = built(name, width=4, classes=7, channels=channels, image_size=image_size)
    assert model(torch.randn(2, channels, image_size, image_size)).shape == (2, 7)


@pytest.mark.parametrize(("name", "layers"), [("resnet8", 8), ("resnet20", 20)])
def test_family_has_6n_plus_2_layers_with_weights(name, layers):
    model = built(name)
    assert len(convolutions(model)) + sum(isinstance(m, nn.Linear) for m in model.modules()) == layers


def test_resnet20_has_the_papers_number_of_parameters():
    # 0.27 million (He et al., table 6): convolutions 267,984 + BatchNorm 1,376 + linear 650 with option-A shortcuts.
    model = built("resnet20")
    counted = sum(p.numel() for p in model.parameters())
    stem = 3 * 16 * 9
    stages = 6 * 16 * 16 * 9 + (16 + 5 * 32) * 32 * 9 + (32 + 5 * 64) * 64 * 9
    batch_norm = 2 * (7 * 16 + 6 * 32 + 6 * 64)
    assert counted == stem + stages + batch_norm + 64 * 10 + 10 == 269_722


def test_width_scales_every_stage():
    assert [c.out_channels for c in convolutions(built("resnet8", width=5))] == [5, 5, 5, 10, 10, 20, 20]


def test_option_a_shortcut_takes_every_second_pixel_and_pads_channels_with_zeros():
    block = built("resnet8", width=2).stage2[0]
    x = torch.arange(2 * 3 * 3, dtype=torch.float32).reshape(1, 2, 3, 3)
    out = block.shortcut(x)
    assert out.shape == (1, 4, 2, 2)
    assert out[0, 1].tolist() == [[0.0, 2.0], [6.0, 8.0]]
    assert out[0, 2].tolist() == [[9.0, 11.0], [15.0, 17.0]]
    assert not out[0, [0, 3]].any()


@pytest.mark.parametrize("name", ["resnet8", "resnet20"])
def test_every_use_of_relu_in_the_family_is_its_own_module(name):
    graph = trace(built(name)).graph
    targets = [node.target for node in graph.nodes if "relu" in str(node.target)]
    assert len(targets) == len(set(targets))
    assert all(node.op == "call_module" for node in graph.nodes if "relu" in str(node.target))


@pytest.mark.parametrize("name", ["resnet8", "resnet18", "mobilenet_v2", "shufflenet_v2_x0_5", "regnet_x_400mf"])
@pytest.mark.parametrize("channels", [1, 3])
def test_network_can_be_traced_and_the_graph_computes_the_same(name, channels):
    model = built(name, channels=channels, classes=5).eval()
    x = torch.randn(2, channels, 32, 32)
    with torch.no_grad():
        assert torch.equal(trace(model)(x), model(x))
        assert model(x).shape == (2, 5)


@pytest.mark.parametrize(("image_size", "side"), [(32, 4), (63, 8)])
@pytest.mark.parametrize("name", ["resnet18", "mobilenet_v2"])
def test_small_stem_keeps_pixels_for_the_last_stage(name, image_size, side):
    model = built(name, image_size=image_size, channels=1).eval()
    last = model.layer4 if name == "resnet18" else model.features
    seen = []
    last.register_forward_hook(lambda _module, _args, out: seen.append(out.shape[-1]))
    with torch.no_grad():
        model(torch.zeros(1, 1, image_size, image_size))
    assert seen == [side]


@pytest.mark.parametrize("name", ["resnet18", "mobilenet_v2"])
def test_from_64_pixels_torchvisions_own_stem_stays(name):
    import torchvision

    ours, theirs = built(name, image_size=64, classes=10), torchvision.models.get_model(name, num_classes=10)
    assert [(c.kernel_size, c.stride) for c in convolutions(ours)] == [
        (c.kernel_size, c.stride) for c in convolutions(theirs)
    ]


def test_networks_hold_no_random_layers():
    for name in ("mobilenet_v2", "efficientnet_b0"):
        model = built(name).train()
        kinds = {type(module).__name__ for module in model.modules()}
        assert not any("Dropout" in kind or "StochasticDepth" in kind for kind in kinds)


@pytest.mark.parametrize("name", ["resnet8", "mobilenet_v2"])
def test_same_seed_gives_the_same_weights_whatever_the_global_generator(name):
    torch.manual_seed(1)
    first = built(name, seed=3)
    torch.manual_seed(2)
    assert same_state(first, built(name, seed=3))
    assert not same_state(first, built(name, seed=4))


def test_building_leaves_the_global_generator_as_it_was():
    torch.manual_seed(5)
    before = torch.get_rng_state()
    built("resnet18")
    assert torch.equal(torch.get_rng_state(), before)


def test_networks_built_in_many_threads_equal_those_built_one_by_one():
    expected = [built("resnet8", seed=seed) for seed in range(8)]
    found = [None] * 8

    def work(seed):
        found[seed] = built("resnet8", seed=seed)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(same_state(a, b) for a, b in zip(expected, found, strict=True))


class Waits(nn.Module):
    """Lets `other` run inside the trace, so that no timing is involved."""

    def __init__(self, other):
        super().__init__()
        self.other = [other]
        self.layer = nn.Linear(2, 2)

    def forward(self, x):
        thread = threading.Thread(target=self.other[0])
        thread.start()
        thread.join()
        return self.layer(x)


@pytest.mark.parametrize("tracer", [trace, torch.fx.symbolic_trace], ids=["ours", "plain"])
def test_a_network_in_another_thread_runs_undisturbed_while_one_is_traced(tracer):
    outside, x = nn.Sequential(nn.Linear(3, 3), nn.ReLU()), torch.randn(4, 3)
    outcome = []

    def run():
        try:
            outcome.append(outside(x))
        except NameError as error:
            outcome.append(error)

    graph = tracer(Waits(run))
    if tracer is trace:
        assert torch.equal(outcome[0], outside(x))
        assert [node.target for node in graph.graph.nodes if node.op == "call_module"] == ["layer"]
    else:
        assert isinstance(outcome[0], NameError), "plain tracing has become safe; the tracer here can go"


def test_tracing_waits_for_the_construction_lock():
    done = threading.Event()
    with construction_lock:
        thread = threading.Thread(target=lambda: (trace(nn.Linear(1, 1)), done.set()))
        thread.start()
        assert not done.wait(0.05)
    thread.join()
    assert done.is_set()


def test_unknown_name_is_one_line_that_lists_the_names():
    with pytest.raises(ConfigError) as error:
        built("resnet9")
    message = str(error.value)
    assert message.startswith("model.name = 'resnet9': no such network; there are resnet8, resnet20, ")
    assert "mobilenet_v2" in message
    assert "\n" not in message


@pytest.mark.parametrize(("name", "image_size"), [("alexnet", 8), ("vit_b_16", 28), ("inception_v3", 32)])
def test_network_that_cannot_take_the_images_is_one_line(name, image_size):
    with pytest.raises(ConfigError) as error:
        built(name, image_size=image_size)
    message = str(error.value)
    assert f"model.name = '{name}': cannot be used for 3 x {image_size} x {image_size} images" in message
    assert "resnet8" in message
    assert "\n" not in message


def test_untraceable_network_is_one_line(monkeypatch):
    class Branches(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv2d(3, 4, 1)

        def forward(self, x):
            return self.conv(x) if x.sum() > 0 else x

    monkeypatch.setattr("torchvision.models.get_model", lambda *_, **__: Branches())
    with pytest.raises(ConfigError, match=r"model.name = 'resnet34': .*TraceError: .*control flow") as error:
        built("resnet34")
    assert "\n" not in str(error.value)


def test_names_start_with_the_family_and_hold_torchvisions_classifiers():
    assert names()[:2] == ("resnet8", "resnet20")
    assert {"resnet18", "mobilenet_v2", "vgg11_bn"} < set(names())
