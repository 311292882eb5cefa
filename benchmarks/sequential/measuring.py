"""What is measured on one model after a request, and what the gates of the deletion flow say about it."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from benchmarks.sequential.ground import Ground
from qunlearn.config import EvaluateConfig
from qunlearn.data.batches import infer
from qunlearn.deletion.gates import Readings, judge
from qunlearn.evaluation.accuracy import accuracy
from qunlearn.evaluation.arrays import losses
from qunlearn.evaluation.drift import code_flips
from qunlearn.evaluation.gap import GAP_METRICS
from qunlearn.evaluation.membership import auc, matched
from qunlearn.evaluation.suite import measure
from qunlearn.quantization import integer_codes

FIGURES = (*GAP_METRICS, "validation_accuracy", "mia_auc", "forget_samples", "retain_samples", "test_samples")
"""Kept of all that the evaluation measures; `forget` is all that was asked for so far."""


def figures(model: nn.Module, ground: Ground, *, request: int) -> dict[str, float]:
    """Accuracies and the support vector attack in percent, `mia_auc` in [0, 1].

    `forget_accuracy`, `mia_confidence` and `mia_auc` are of all samples asked for so far, `request_accuracy` and
    `request_auc` of those of this request.
    """
    logits, labels = _read(
        model,
        ground,
        {
            "forget": ground.asked(request),
            "retain": ground.retained(request),
            "test": ground.test,
            "validation": ground.validation,
            "request": ground.requests[request - 1],
        },
    )
    config = EvaluateConfig(bootstrap=0)
    own, own_labels = logits.pop("request"), labels.pop("request")
    found = measure(logits, labels, config=config)
    inside, outside = matched(own_labels, labels["test"], seed=config.seed)
    members, others = losses(own, own_labels)[inside], losses(logits["test"], labels["test"])[outside]
    return {
        **{name: found[name] for name in FIGURES},
        "request_accuracy": accuracy(own, own_labels),
        "request_auc": auc(-members, -others),
    }


def flips(original: nn.Module, model: nn.Module) -> float:
    """Share of integer weight codes that differ, in [0, 1]."""
    before, after = ({k: v.cpu().numpy() for k, v in integer_codes(one).items()} for one in (original, model))
    return code_flips(before, after).total


def gates(parent: nn.Module, model: nn.Module, ground: Ground, *, request: int, seed: int, retrained: bool) -> Any:
    """Would the deletion flow have released the model in place of its parent?

    Returns:
        `passed`, and the names of the binding gates that were `failed`.
    """
    retain = ground.retained(request)
    order = torch.randperm(len(retain), generator=torch.Generator().manual_seed(seed))
    positions = {
        "forget": ground.requests[request - 1],
        "retain": retain[order[: len(ground.validation)].sort().values],
        "validation": ground.validation,
        "test": ground.test,
    }
    before, after = (Readings(*_read(one, ground, positions)) for one in (parent, model))
    config = ground.params.deletion.gates
    found = judge(before, after, config, forgotten_classes=(), seed=seed, retrained=retrained)
    return {"passed": found.passed, "failed": [one.name for one in found.gates if one.binding and not one.passed]}


def _read(model: nn.Module, ground: Ground, positions: dict[str, Tensor]) -> tuple[dict[str, Any], dict[str, Any]]:
    logits: dict[str, np.ndarray[Any, Any]] = {
        name: infer(model, ground.pool, places, batch_size=256).numpy() for name, places in positions.items()
    }
    return logits, {name: ground.pool.labels[places].numpy() for name, places in positions.items()}
