"""Membership inference: can the forgotten samples still be told from samples the model never saw?

`svc_attacks` are the field's numbers (Jia et al., arXiv 2304.04934; Fan et al., arXiv 2310.12508), kept for
comparison: the closer to the retrained model's values the better. `auc` and `tpr_at_fpr` set forgotten against test
samples directly; 0.5 and the false positive rate itself mean that they cannot be told apart.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import numpy as np
from sklearn.svm import SVC

from qunlearn.evaluation.arrays import Floats, Ints
from qunlearn.evaluation.attack_features import svc_features


def svc_attack(*, retain: Floats, test: Floats, forget: Floats) -> float:
    """Percent of forget samples that a support vector machine calls non-members, from one feature of each sample.

    The attack (RBF kernel, C = 3, gamma = 1 / features) learns from as many retained samples as there are test samples,
    the first in dataset order, as members, and from all test samples as non-members.

    Args:
        retain: feature of the retained training samples in dataset order, [R] or [R, D]
        test: of the test samples, [T] or [T, D]
        forget: of the forget samples, [F] or [F, D]
    """
    members, outsiders, asked = (x.reshape(len(x), -1) for x in (retain[: len(test)], test, forget))
    is_member = np.concatenate([np.ones(len(members), dtype=np.int64), np.zeros(len(outsiders), dtype=np.int64)])
    attack = SVC(C=3, gamma="auto", kernel="rbf").fit(np.concatenate([members, outsiders]), is_member)
    return 100.0 * float(np.mean(attack.predict(asked) == 0))


def svc_attacks(logits: Mapping[str, Floats], labels: Mapping[str, Ints]) -> dict[str, float]:
    """`svc_attack` on each of the `svc_features`, as `mia_<feature>` in percent; no sample is left out.

    Args:
        logits: of `forget`, `retain` and `test`, [N, K] each; labels: [N] each.
    """
    counts = {"forget": None, "retain": len(labels["test"]), "test": None}
    features = {name: svc_features(logits[name][:count], labels[name][:count]) for name, count in counts.items()}
    return {
        f"mia_{feature}": svc_attack(**{name: features[name][feature] for name in counts})
        for feature in features["forget"]
    }


def matched(
    forget_labels: Ints, other_labels: Ints, *, seed: int, other: Literal["test", "validation"] = "test"
) -> tuple[Ints, Ints]:
    """Positions of equally many forget and other samples with the same class mix.

    Of each class as many are drawn from both, without replacement, as the rarer side has.

    Args:
        other: name of the other set, for the message.

    Returns:
        (positions in forget, positions in the other set), both [M], shuffled.

    Raises:
        ValueError: the two have no class in common.
    """
    generator = np.random.default_rng(seed)
    chosen: list[tuple[Ints, Ints]] = []
    for label in np.intersect1d(forget_labels, other_labels):
        own, unseen = np.flatnonzero(forget_labels == label), np.flatnonzero(other_labels == label)
        count = min(len(own), len(unseen))
        chosen.append((generator.permutation(own)[:count], generator.permutation(unseen)[:count]))
    if not chosen:
        raise ValueError(
            f"forget set (classes {np.unique(forget_labels).tolist()}) and {other} set (classes "
            f"{np.unique(other_labels).tolist()}) have no class in common; "
            f"membership needs {other} samples of the forgotten classes; raise split.{other}"
        )
    own_side, other_side = (np.concatenate(side) for side in zip(*chosen, strict=True))
    return generator.permutation(own_side), generator.permutation(other_side)


def auc(members: Floats, non_members: Floats) -> float:
    """Probability that a random member scores above a random non-member, ties counting one half.

    Args:
        members: scores [M], larger = more like a member
        non_members: scores [N]
    """
    ordered = np.sort(non_members)
    below = np.searchsorted(ordered, members, side="left")
    not_above = np.searchsorted(ordered, members, side="right")
    return float((below + not_above).mean() / (2.0 * len(ordered)))


def tpr_at_fpr(members: Floats, non_members: Floats, *, fpr: float = 0.01) -> float:
    """Largest share of members found by a threshold that at most `fpr` of the non-members exceed.

    With fewer than 1 / fpr non-members no false positive is allowed at all.
    """
    threshold = np.sort(non_members)[::-1][int(np.floor(fpr * len(non_members)))]
    return float(np.mean(members > threshold))


def bootstrap(
    members: Floats, non_members: Floats, *, resamples: int, seed: int, fpr: float = 0.01, level: float = 0.95
) -> dict[str, tuple[float, float]]:
    """Percentile intervals of `auc` and `tpr_at_fpr`; members and non-members are resampled apart.

    A resample is a vector of counts over the sorted scores, so both figures of all resamples come from cumulative
    sums instead of from sorting again.

    Returns:
        {"auc": (low, high), "tpr": (low, high)}
    """
    generator = np.random.default_rng(seed)
    members, non_members = np.sort(members)[::-1], np.sort(non_members)[::-1]
    above = np.searchsorted(-members, -non_members, side="left")
    not_below = np.searchsorted(-members, -non_members, side="right")
    allowed = int(np.floor(fpr * len(non_members)))
    aucs, tprs = [], []
    block = max(1, 4_000_000 // (len(members) + len(non_members)))
    for start in range(0, resamples, block):
        rows = min(block, resamples - start)
        own = _counts(generator, rows, len(members))
        other = _counts(generator, rows, len(non_members))
        found = np.concatenate([np.zeros((rows, 1), dtype=np.int64), own.cumsum(axis=1)], axis=1)
        wins = ((found[:, above] + found[:, not_below]) * other).sum(axis=1)
        aucs.append(wins / (2.0 * len(members) * len(non_members)))
        first_refused = (other.cumsum(axis=1) > allowed).argmax(axis=1)
        tprs.append(found[np.arange(rows), above[first_refused]] / len(members))
    tail = 50.0 * (1.0 - level)
    return {
        name: (float(np.percentile(values, tail)), float(np.percentile(values, 100.0 - tail)))
        for name, values in (("auc", np.concatenate(aucs)), ("tpr", np.concatenate(tprs)))
    }


def _counts(generator: np.random.Generator, rows: int, size: int) -> Ints:
    """How often each of `size` samples is drawn in each of `rows` resamples of `size` draws, [rows, size]."""
    draws = generator.integers(0, size, (rows, size)) + size * np.arange(rows)[:, None]
    return np.bincount(draws.ravel(), minlength=rows * size).reshape(rows, size)
