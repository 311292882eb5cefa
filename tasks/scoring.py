"""How good a trial of a search is: estimated on validation images, or measured against the retrained model.

The two are tasks of their own. The first is told neither which model was retrained nor where test images are; that is
what makes a choice by it one that can be made in production.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from prefect import task
from prefect.cache_policies import NO_CACHE

from qunlearn.evaluation.accuracy import accuracy
from qunlearn.evaluation.arrays import confidences
from qunlearn.evaluation.gap import GAP_METRICS, average_gap
from qunlearn.evaluation.membership import svc_attack
from qunlearn.evaluation.selection import estimated_gap
from tasks.evaluated_models import fetch_model
from tasks.manifests import Cell
from tasks.material import Material, use_threads
from tasks.outputs import Labels, Logits, subset_outputs
from tasks.tracking import Store
from tasks.workspace import Workspace, derived_seed

VALIDATION_SUBSETS = ("forget", "retain", "validation")
ORACLE_SUBSETS = ("forget", "retain", "test")

DIGITS = 6
"""Decimals of a score: below them the batch size of inference shows, which is to change no result."""


@dataclass(frozen=True)
class Score:
    """In percentage points, lower is better; None where the model's outputs are not finite.

    Args:
        terms: what `value` is the mean of.
    """

    value: float | None
    terms: Mapping[str, float] = field(default_factory=dict)


@task(name="score by validation", task_run_name="{cell.name}", cache_policy=NO_CACHE)
def score_by_validation(workspace: Workspace, cell: Cell, original: Cell) -> Score:
    """The gap to retraining as it can be estimated from the original model and validation images."""
    logits, labels = _outputs(workspace, cell, VALIDATION_SUBSETS)
    if not _finite(logits):
        return Score(None)
    before, _ = _outputs(workspace, original, VALIDATION_SUBSETS)
    manifest = Material.load(workspace).split.manifest
    terms = estimated_gap(
        logits,
        before,
        labels,
        scenario=manifest["scenario"],
        forgotten_classes=manifest["forgotten_classes"],
        seed=derived_seed(cell.seed, "search/matching"),
    )
    return _rounded(terms.pop("estimated_gap"), terms)


@task(name="score by oracle", task_run_name="{cell.name}", cache_policy=NO_CACHE)
def score_by_oracle(workspace: Workspace, cell: Cell, retrained: Cell) -> Score:
    """The average gap to the retrained model of the same seed, on the images that the evaluation reports."""
    logits, labels = _outputs(workspace, cell, ORACLE_SUBSETS)
    if not _finite(logits):
        return Score(None)
    metrics = gap_metrics(logits, labels)
    reference = gap_metrics(*_outputs(workspace, retrained, ORACLE_SUBSETS))
    return _rounded(
        average_gap(metrics, reference), {name: abs(metrics[name] - reference[name]) for name in GAP_METRICS}
    )


def gap_metrics(logits: Logits, labels: Labels) -> dict[str, float]:
    """The four `GAP_METRICS` in percent, and nothing else: the other figures of the evaluation cost more.

    Args:
        logits: of `ORACLE_SUBSETS`, [N, K] each; labels: [N] each.
    """
    sure = {name: confidences(logits[name], labels[name]) for name in ORACLE_SUBSETS}
    return {
        **{f"{name}_accuracy": accuracy(logits[name], labels[name]) for name in ORACLE_SUBSETS},
        "mia_confidence": svc_attack(**sure),
    }


def _outputs(workspace: Workspace, cell: Cell, names: tuple[str, ...]) -> tuple[Logits, Labels]:
    """Logits and labels of the named subsets, and of no others."""
    params = workspace.params
    use_threads(params.runner.torch_threads)
    store = Store.open(params.tracking, root=workspace.root)
    model, material = fetch_model(store, cell, Material.load(workspace))
    return subset_outputs(material, model, names=names, batch_size=params.evaluate.batch_size)


def _finite(logits: Logits) -> bool:
    return all(bool(np.isfinite(values).all()) for values in logits.values())


def _rounded(value: float, terms: Mapping[str, float]) -> Score:
    return Score(round(value, DIGITS), {name: round(term, DIGITS) for name, term in terms.items()})
