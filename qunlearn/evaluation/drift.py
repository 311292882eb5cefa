"""How far unlearning moved a quantized network from the model it started from, layer by layer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from qunlearn.evaluation.arrays import Numbers


@dataclass(frozen=True)
class Drift:
    """`total` over the network and the same figure per layer."""

    total: float
    layers: dict[str, float]


def code_flips(before: Mapping[str, Numbers], after: Mapping[str, Numbers]) -> Drift:
    """Share of integer weight codes that changed, in [0, 1]; the total counts every code of the network once.

    Args:
        before, after: layer -> integer codes, same layers and shapes.
    """
    _same_layers(before, after)
    changed = {layer: int(np.count_nonzero(before[layer] != after[layer])) for layer in before}
    sizes = {layer: codes.size for layer, codes in before.items()}
    layers = {layer: changed[layer] / sizes[layer] for layer in before}
    return Drift(total=sum(changed.values()) / sum(sizes.values()) if sizes else 0.0, layers=layers)


def scale_drift(before: Mapping[str, Numbers], after: Mapping[str, Numbers]) -> Drift:
    """|after - before| / |before| (Euclidean norms) of each quantizer's scales; the total is the mean over them.

    Raises:
        ValueError: a scale that was zero, which no quantizer can have.
    """
    _same_layers(before, after)
    layers = {}
    for name, old in before.items():
        size = float(np.linalg.norm(old))
        if size == 0.0:
            raise ValueError(f"scale {name} of the original model is 0; a quantizer's scale is positive")
        layers[name] = float(np.linalg.norm(np.asarray(after[name]) - np.asarray(old))) / size
    return Drift(total=_mean(layers), layers=layers)


def batchnorm_drift(before: Mapping[str, Numbers], after: Mapping[str, Numbers], *, epsilon: float = 1e-5) -> Drift:
    """Relative change of the running statistics of each BatchNorm layer, found in state dicts by their names.

    Per layer the mean over channels of (|change of mean| / sqrt(v) + |change of variance| / v) / 2, with v the old
    variance plus `epsilon`: a mean is measured in standard deviations because it may be near zero. The total is the
    mean over layers, 0 for a network without BatchNorm.

    Args:
        before, after: state dicts as arrays; all other entries are ignored.
    """
    suffix = ".running_mean"
    layers = {}
    for name in (key.removesuffix(suffix) for key in before if key.endswith(suffix)):
        mean, variance = name + suffix, name + ".running_var"
        missing = [key for key in (mean, variance) if key not in after or key not in before]
        if missing:
            raise ValueError(f"{', '.join(missing)} is missing in one of the models; both must have the same layers")
        v = np.asarray(before[variance], dtype=np.float64) + epsilon
        shift = np.abs(after[mean] - before[mean]) / np.sqrt(v)
        spread = np.abs(after[variance] - before[variance]) / v
        layers[name] = float((shift + spread).mean() / 2)
    return Drift(total=_mean(layers), layers=layers)


def _mean(layers: Mapping[str, float]) -> float:
    return float(np.mean(list(layers.values()))) if layers else 0.0


def _same_layers(before: Mapping[str, Numbers], after: Mapping[str, Numbers]) -> None:
    if different := sorted(before.keys() ^ after.keys()):
        raise ValueError(f"the models differ in layers {', '.join(different)}; compare a model with its own parent")
    for layer, values in before.items():
        if np.shape(values) != np.shape(after[layer]):
            raise ValueError(
                f"{layer} has shape {np.shape(values)} before and {np.shape(after[layer])} after; "
                "compare a model with its own parent"
            )
