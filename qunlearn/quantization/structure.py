"""What the graph of a network says: order of layers, signs of their inputs, neighbours.

Found by tracing with `torch.fx`; the network itself is left as it is.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import fx, nn
from torch.nn import functional as F

from qunlearn.models.tracing import trace

_NON_NEGATIVE_MODULES = (nn.ReLU, nn.ReLU6)
_NON_NEGATIVE_FUNCTIONS = {F.relu, torch.relu, torch.relu_, F.relu6}
_NON_NEGATIVE_METHODS = {"relu", "relu_"}
# The result is non-negative where every tensor that goes in is.
_SIGN_KEEPING_MODULES = (
    nn.Identity, nn.Dropout, nn.Dropout2d, nn.Flatten,
    nn.MaxPool2d, nn.AvgPool2d, nn.AdaptiveAvgPool2d, nn.AdaptiveMaxPool2d,
)  # fmt: skip
_SIGN_KEEPING_FUNCTIONS: set[Callable[..., Any]] = {
    torch.flatten, torch.cat, torch.squeeze, torch.reshape, torch.mean, torch.permute, torch.transpose,
    F.max_pool2d, F.avg_pool2d, F.adaptive_avg_pool2d, F.adaptive_max_pool2d, F.dropout,
    operator.add, operator.iadd, torch.add, operator.mul, torch.mul, operator.getitem,
}  # fmt: skip
_ARITHMETIC = {operator.add, operator.iadd, operator.mul, torch.add, torch.mul, "add", "add_", "mul"}
"""Operations that a negative constant argument can take below zero."""
_SIGN_KEEPING_METHODS = {
    "flatten", "view", "reshape", "mean", "squeeze", "contiguous", "permute", "transpose", "add", "add_", "mul",
}  # fmt: skip


@dataclass(frozen=True)
class Structure:
    """Facts about the convolutions and linear layers of a network.

    Args:
        layers: names of all Conv2d and Linear that the forward pass calls, in its order.
        first: the first convolution, None where there is none.
        last: the last layer.
        unsigned: layers whose input can never be below zero.
        norms: layer -> name of the BatchNorm that directly follows it.
        absorbers: ReLU module -> its users, where all are layers: quantizers that clip at 0 can take it over.
    """

    layers: tuple[str, ...]
    first: str | None
    last: str
    unsigned: frozenset[str]
    norms: dict[str, str]
    absorbers: dict[str, tuple[str, ...]]


def examine(model: nn.Module) -> Structure:
    """The structure of a float network, from its graphs in evaluation and in training mode.

    Raises:
        ValueError: the network cannot be traced, or has no layer to quantize.
    """
    modes = {name: module.training for name, module in model.named_modules()}
    try:
        graphs = [_graph(model.train(mode)) for mode in (False, True)]
    finally:
        for name, module in model.named_modules():
            module.training = modes[name]
    modules = dict(model.named_modules())
    found = [_Facts(graph, modules) for graph in graphs]
    layers = tuple(dict.fromkeys(name for facts in found for name in facts.calls))
    if not layers:
        raise ValueError(f"{type(model).__name__} has no Conv2d or Linear to quantize")
    convolutions = [name for name in layers if isinstance(modules[name], nn.Conv2d)]
    return Structure(
        layers=layers,
        first=convolutions[0] if convolutions else None,
        last=list(found[0].calls)[-1],
        unsigned=frozenset(name for name in layers if all(facts.unsigned(name) for facts in found)),
        norms=found[1].norms(),
        absorbers={k: v for k, v in found[0].absorbers().items() if found[1].absorbers().get(k) == v},
    )


def remember(model: nn.Module, structure: Structure) -> None:
    """Attach the structure of the float network to its quantized copy, whose layers cannot be traced any more."""
    model._structure = structure  # type: ignore[assignment]  # torch declares attributes as tensors and modules


def structure_of(model: nn.Module) -> Structure:
    """The structure remembered by `quantize`, or that of the float network `model`."""
    found = vars(model).get("_structure")
    return found if isinstance(found, Structure) else examine(model)


def _graph(model: nn.Module) -> fx.Graph:
    try:
        return trace(model).graph
    except Exception as error:  # tracing runs the network's own code, which may raise anything
        raise ValueError(
            f"{type(model).__name__} cannot be traced by torch.fx ({type(error).__name__}: {error}); "
            "a network whose forward pass branches on tensor values cannot be quantized"
        ) from error


class _Facts:
    """One graph, read once."""

    def __init__(self, graph: fx.Graph, modules: dict[str, nn.Module]) -> None:
        self.modules = modules
        self.nodes = list(graph.nodes)
        self.calls: dict[str, list[fx.Node]] = {}
        for node in self.nodes:
            if self._is_layer(node):
                self.calls.setdefault(str(node.target), []).append(node)
        self.non_negative: set[fx.Node] = set()
        for node in self.nodes:
            if self._never_negative(node):
                self.non_negative.add(node)

    def _module(self, node: fx.Node) -> nn.Module | None:
        return self.modules[str(node.target)] if node.op == "call_module" else None

    def _is_layer(self, node: fx.Node) -> bool:
        # Exactly these classes: a subclass may use its weight in ways of its own.
        return type(self._module(node)) in (nn.Conv2d, nn.Linear)

    def _never_negative(self, node: fx.Node) -> bool:
        if node.op == "call_module":
            module = self._module(node)
            keeps, made = isinstance(module, _SIGN_KEEPING_MODULES), isinstance(module, _NON_NEGATIVE_MODULES)
        elif node.op == "call_function":
            keeps, made = node.target in _SIGN_KEEPING_FUNCTIONS, node.target in _NON_NEGATIVE_FUNCTIONS
        elif node.op == "call_method":
            keeps, made = node.target in _SIGN_KEEPING_METHODS, node.target in _NON_NEGATIVE_METHODS
        else:
            return False
        return made or (keeps and self._all_inputs_non_negative(node))

    def _all_inputs_non_negative(self, node: fx.Node) -> bool:
        numbers = (value for value in node.args if isinstance(value, float | int))
        if node.target in _ARITHMETIC and any(value < 0 for value in numbers):
            return False
        return all(source in self.non_negative for source in node.all_input_nodes)

    def unsigned(self, layer: str) -> bool:
        return all(node.all_input_nodes[0] in self.non_negative for node in self.calls.get(layer, ()))

    def norms(self) -> dict[str, str]:
        result = {}
        for layer, nodes in self.calls.items():
            users = [user for node in nodes for user in node.users]
            if len(users) == 1 and isinstance(self._module(users[0]), nn.BatchNorm2d | nn.BatchNorm1d):
                result[layer] = str(users[0].target)
        return result

    def absorbers(self) -> dict[str, tuple[str, ...]]:
        result = {}
        for node in self.nodes:
            if type(self._module(node)) is nn.ReLU and self._called_once(node) and self._alone_on_its_input(node):
                users = list(node.users)
                if users and all(self._is_layer(user) and self._called_once(user) for user in users):
                    result[str(node.target)] = tuple(sorted(str(user.target) for user in users))
        return result

    def _called_once(self, node: fx.Node) -> bool:
        return len([other for other in self.nodes if other.op == "call_module" and other.target == node.target]) == 1

    def _alone_on_its_input(self, node: fx.Node) -> bool:
        """An in-place ReLU changes what others see of its input: only without others may it go."""
        return len(node.all_input_nodes[0].users) == 1
