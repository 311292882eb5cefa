"""All figures of one model, from the logits of its subsets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from qunlearn.config import EvaluateConfig
from qunlearn.evaluation import uncertainty
from qunlearn.evaluation.accuracy import accuracy, accuracy_without
from qunlearn.evaluation.arrays import Floats, Ints, check, losses, margins
from qunlearn.evaluation.divergence import js_divergence, kl_divergence, prediction_agreement, wasserstein2
from qunlearn.evaluation.lira import lira_scores
from qunlearn.evaluation.membership import auc, bootstrap, matched, svc_attacks, tpr_at_fpr

REQUIRED = ("forget", "retain", "test")
COMPARED = ("forget", "test")
"""Subsets whose logits under another model, reference or shadow, are needed."""


def measure(
    logits: Mapping[str, Floats],
    labels: Mapping[str, Ints],
    *,
    config: EvaluateConfig,
    forgotten_classes: Sequence[int] | None = None,
    reference: Mapping[str, Floats] | None = None,
    shadows: Sequence[Mapping[str, Floats]] | None = None,
) -> dict[str, float]:
    """Flat metrics of one model.

    Args:
        logits: subset -> [N, K] in dataset order, eval mode, test transform: `forget`, `retain`, `test`, and any
            other subset (`validation`, `adjacent`, `test_adjacent`) whose accuracy is wanted.
        labels: subset -> [N], the same subsets.
        config: resamples of the intervals and the seed of balancing.
        forgotten_classes: for class forgetting: adds the test accuracy without these classes.
        reference: logits of the retrained model on `forget` and `test`: adds how far the predictions lie apart.
        shadows: the same of each shadow model: adds the likelihood ratio attack `lira_*`.

    Returns:
        Accuracies, agreement and the five support vector attacks `mia_<feature>` in percent; `mia_auc*`, `lira_auc`,
        `mia_tpr_at_1fpr*` and `lira_tpr_at_1fpr` in [0, 1] (with `_low`, `_high`); uncertainty figures in [0, 1];
        `kl_to_retrain_*`, `js_to_retrain_*` and `w2_loss` in nats; and the sizes `*_samples`.

    Raises:
        ValueError: a subset is missing, empty, of the wrong shape, or holds NaN; one shadow model.
    """
    _check(logits, labels)
    metrics: dict[str, float] = {}
    for name in logits:
        metrics[f"{name}_accuracy"] = accuracy(logits[name], labels[name])
        metrics[f"{name}_samples"] = float(len(labels[name]))
    if forgotten_classes:
        metrics["test_accuracy_without_forgotten"] = accuracy_without(logits["test"], labels["test"], forgotten_classes)
    metrics |= svc_attacks(logits, labels) | _separation(logits, labels, config) | _uncertainty(logits)
    if reference is not None:
        _check_other(reference, logits, labels, owner="the reference")
        metrics |= _distance(logits, labels, reference)
    if shadows:
        for number, shadow in enumerate(shadows):
            _check_other(shadow, logits, labels, owner=f"shadow model {number}")
        metrics |= _likelihood_ratio(logits, labels, shadows, config)
    return metrics


def _check(logits: Mapping[str, Floats], labels: Mapping[str, Ints]) -> None:
    if logits.keys() != labels.keys() or not set(REQUIRED) <= logits.keys():
        raise ValueError(
            f"logits of {sorted(logits)} and labels of {sorted(labels)}: both need the same subsets, "
            f"with {', '.join(REQUIRED)} among them"
        )
    for name in logits:
        check(logits[name], labels[name], name=f"the {name} set")


def _check_other(
    other: Mapping[str, Floats], logits: Mapping[str, Floats], labels: Mapping[str, Ints], *, owner: str
) -> None:
    if missing := [name for name in COMPARED if name not in other]:
        raise ValueError(f"logits of {owner} lack {', '.join(missing)}; {' and '.join(COMPARED)} are needed")
    for name in COMPARED:
        check(other[name], labels[name], name=f"the {name} set under {owner}")
        if other[name].shape != logits[name].shape:
            raise ValueError(
                f"{owner} has {other[name].shape[1]} classes on the {name} set, the model {logits[name].shape[1]}; "
                "compare models of one task"
            )


def _separation(logits: Mapping[str, Floats], labels: Mapping[str, Ints], config: EvaluateConfig) -> dict[str, float]:
    """Forget against test samples of the same class mix, by loss and by margin."""
    own, other = matched(labels["forget"], labels["test"], seed=config.seed)
    members, outsiders = (logits["forget"][own], labels["forget"][own]), (logits["test"][other], labels["test"][other])
    # A trained-on sample has a low loss and a large margin.
    by_loss = _figures(-losses(*members), -losses(*outsiders), config, auc_name="mia_auc", tpr_name="mia_tpr_at_1fpr")
    by_margin = _figures(
        margins(*members),
        margins(*outsiders),
        config,
        auc_name="mia_auc_margin",
        tpr_name="mia_tpr_at_1fpr_margin",
    )
    return by_loss | by_margin


def _figures(
    inside: Floats, outside: Floats, config: EvaluateConfig, *, auc_name: str, tpr_name: str
) -> dict[str, float]:
    """AUC and TPR of scores that are larger for members, with bootstrap intervals."""
    metrics = {auc_name: auc(inside, outside), tpr_name: tpr_at_fpr(inside, outside)}
    if config.bootstrap:
        intervals = bootstrap(inside, outside, resamples=config.bootstrap, seed=config.seed)
        for name, figure in ((auc_name, "auc"), (tpr_name, "tpr")):
            metrics[f"{name}_low"], metrics[f"{name}_high"] = intervals[figure]
    return metrics


def _likelihood_ratio(
    logits: Mapping[str, Floats],
    labels: Mapping[str, Ints],
    shadows: Sequence[Mapping[str, Floats]],
    config: EvaluateConfig,
) -> dict[str, float]:
    forget, test = lira_scores(logits, labels, shadows)
    own, other = matched(labels["forget"], labels["test"], seed=config.seed)
    return _figures(forget[own], test[other], config, auc_name="lira_auc", tpr_name="lira_tpr_at_1fpr")


def _uncertainty(logits: Mapping[str, Floats]) -> dict[str, float]:
    metrics = {"forget_concentration": uncertainty.concentration(logits["forget"])}
    for name in REQUIRED:
        metrics[f"{name}_entropy"] = uncertainty.mean_entropy(logits[name])
        metrics[f"{name}_max_probability"] = uncertainty.mean_max_probability(logits[name])
    return metrics


def _distance(
    logits: Mapping[str, Floats], labels: Mapping[str, Ints], reference: Mapping[str, Floats]
) -> dict[str, float]:
    """How far the predictions lie from the reference's, on samples that neither of a good pair was trained on."""
    metrics = {}
    for name in COMPARED:
        metrics[f"prediction_agreement_{name}"] = prediction_agreement(logits[name], reference[name])
        metrics[f"kl_to_retrain_{name}"] = kl_divergence(reference[name], logits[name])
        metrics[f"js_to_retrain_{name}"] = js_divergence(reference[name], logits[name])
    own, other = (losses(source["forget"], labels["forget"]) for source in (logits, reference))
    return metrics | {"w2_loss": wasserstein2(own, other)}
