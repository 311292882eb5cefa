"""All figures of one model, from the logits of its subsets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from qunlearn.config import EvaluateConfig
from qunlearn.evaluation import uncertainty
from qunlearn.evaluation.accuracy import accuracy, accuracy_without
from qunlearn.evaluation.arrays import Floats, Ints, check, confidences, losses, margins
from qunlearn.evaluation.membership import auc, bootstrap, matched, mia_confidence, tpr_at_fpr

REQUIRED = ("forget", "retain", "test")


def measure(
    logits: Mapping[str, Floats],
    labels: Mapping[str, Ints],
    *,
    config: EvaluateConfig,
    forgotten_classes: Sequence[int] | None = None,
) -> dict[str, float]:
    """Flat metrics of one model.

    Args:
        logits: subset -> [N, K] in dataset order, eval mode, test transform: `forget`, `retain`, `test`, and any
            other subset (`validation`, `adjacent`, `remote`) whose accuracy is wanted.
        labels: subset -> [N], the same subsets.
        config: resamples of the intervals and the seed of balancing.
        forgotten_classes: for class forgetting: adds the test accuracy without these classes.

    Returns:
        Accuracies and `mia_confidence` in percent, `mia_auc*` and `mia_tpr_at_1fpr*` in [0, 1] (with `_low`, `_high`),
        uncertainty figures in [0, 1], and the sizes `*_samples`.

    Raises:
        ValueError: a subset is missing, empty, of the wrong shape, or holds NaN.
    """
    if logits.keys() != labels.keys() or not set(REQUIRED) <= logits.keys():
        raise ValueError(
            f"logits of {sorted(logits)} and labels of {sorted(labels)}: both need the same subsets, "
            f"with {', '.join(REQUIRED)} among them"
        )
    for name in logits:
        check(logits[name], labels[name], name=f"the {name} set")
    metrics: dict[str, float] = {}
    for name in logits:
        metrics[f"{name}_accuracy"] = accuracy(logits[name], labels[name])
        metrics[f"{name}_samples"] = float(len(labels[name]))
    if forgotten_classes:
        metrics["test_accuracy_without_forgotten"] = accuracy_without(logits["test"], labels["test"], forgotten_classes)
    return metrics | _membership(logits, labels, config) | _uncertainty(logits)


def _membership(logits: Mapping[str, Floats], labels: Mapping[str, Ints], config: EvaluateConfig) -> dict[str, float]:
    sure = {name: confidences(logits[name], labels[name]) for name in REQUIRED}
    metrics = {"mia_confidence": mia_confidence(**sure)}
    own, other = matched(labels["forget"], labels["test"], seed=config.seed)
    members, outsiders = (logits["forget"][own], labels["forget"][own]), (logits["test"][other], labels["test"][other])
    # A trained-on sample has a low loss and a large margin.
    scores = {"": (-losses(*members), -losses(*outsiders)), "_margin": (margins(*members), margins(*outsiders))}
    for suffix, (inside, outside) in scores.items():
        names = {"auc": f"mia_auc{suffix}", "tpr": f"mia_tpr_at_1fpr{suffix}"}
        metrics[names["auc"]] = auc(inside, outside)
        metrics[names["tpr"]] = tpr_at_fpr(inside, outside)
        if config.bootstrap:
            intervals = bootstrap(inside, outside, resamples=config.bootstrap, seed=config.seed)
            for figure, (low, high) in intervals.items():
                metrics[f"{names[figure]}_low"], metrics[f"{names[figure]}_high"] = low, high
    return metrics


def _uncertainty(logits: Mapping[str, Floats]) -> dict[str, float]:
    metrics = {"forget_concentration": uncertainty.concentration(logits["forget"])}
    for name in REQUIRED:
        metrics[f"{name}_entropy"] = uncertainty.mean_entropy(logits[name])
        metrics[f"{name}_max_probability"] = uncertainty.mean_max_probability(logits[name])
    return metrics
