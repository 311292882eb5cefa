"""Signs, order and neighbours of layers, as read from the graph."""

import pytest
import torch
import torchvision
from torch import nn
from torch.nn import functional as F

from qunlearn.quantization.structure import examine


class Net(nn.Module):
    def __init__(self, body):
        super().__init__()
        self.a, self.b, self.c = nn.Conv2d(3, 3, 1), nn.Conv2d(3, 3, 1), nn.Conv2d(3, 3, 1)
        self.body = body

    def forward(self, x):
        return self.c(self.body(self.a(x), self.b(x)))


@pytest.mark.parametrize(
    ("body", "unsigned"),
    [
        (lambda a, _: F.relu(a), True),
        (lambda a, _: F.relu6(a), True),
        (lambda a, _: a.relu(), True),
        (lambda a, b: torch.cat([F.relu(a), F.relu(b)], 1)[:, :3], True),
        (lambda a, _: F.max_pool2d(F.relu(a), 2), True),
        (lambda a, b: F.relu(a) + F.relu(b), True),
        (lambda a, _: F.relu(a) * 2.0, True),
        (lambda a, _: F.relu(a) * -2.0, False),
        (lambda a, b: F.relu(a) + b, False),
        (lambda a, b: F.relu(a) - F.relu(b), False),
        (lambda a, b: torch.cat([F.relu(a), b], 1)[:, :3], False),
        (lambda a, _: F.leaky_relu(a), False),
        (lambda a, _: F.hardswish(a), False),
        (lambda a, _: a, False),
    ],
)
def test_an_input_is_unsigned_only_where_it_cannot_be_negative(body, unsigned):
    assert ("c" in examine(Net(body)).unsigned) is unsigned


def test_resnet18_signs_and_edges():
    structure = examine(torchvision.models.resnet18(num_classes=5))
    assert (structure.first, structure.last) == ("conv1", "fc")
    assert set(structure.layers) - structure.unsigned == {"conv1"}
    assert structure.norms["layer2.0.downsample.0"] == "layer2.0.downsample.1"
    assert structure.absorbers == {}  # each block calls its one ReLU twice, once for the sum


def test_linear_bottlenecks_of_mobilenet_are_signed():
    structure = examine(torchvision.models.mobilenet_v2(num_classes=5))
    signed = set(structure.layers) - structure.unsigned
    assert "features.0.0" in signed
    assert "features.2.conv.0.0" in signed  # expands a linear bottleneck
    assert "features.4.conv.0.0" in signed  # expands a sum of linear bottlenecks
    assert "features.2.conv.1.0" not in signed  # depthwise, behind ReLU6
    assert "classifier.1" not in signed


def test_a_layer_called_at_two_places_is_unsigned_only_if_both_are():
    class Shared(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = nn.Conv2d(3, 3, 1), nn.Conv2d(3, 3, 1)

        def forward(self, x):
            return self.b(self.b(F.relu(self.a(x))))

    assert examine(Shared()).unsigned == frozenset()


def test_an_in_place_relu_whose_input_others_read_is_not_taken_over():
    class Skip(nn.Module):
        def __init__(self, inplace):
            super().__init__()
            self.a, self.b, self.relu = nn.Conv2d(3, 3, 1), nn.Conv2d(3, 3, 1), nn.ReLU(inplace=inplace)

        def forward(self, x):
            a = self.a(x)
            return self.b(self.relu(a)) + a

    assert examine(Skip(inplace=True)).absorbers == {}


def test_modes_of_all_modules_are_restored():
    model = nn.Sequential(nn.Conv2d(1, 1, 1), nn.BatchNorm2d(1))
    model[1].eval()
    examine(model)
    assert [m.training for m in model.modules()] == [True, True, False]
