"""How close a model is to what retraining would give, estimated without the retrained model.

Hyper-parameters must not be chosen on the gap that is reported. What retraining gives is estimated from the original
model and from validation images, which no model was trained on:

    forget_term      |forget accuracy - target|: a model that never saw the forget set treats it like validation images.
                     target = the original's validation accuracy, weighted to the class mix of the forget set
                     (scenarios random, ids, group), or 0 where whole classes are forgotten (class)
    retain_term      |retain accuracy - the original's retain accuracy|
    validation_term  |validation accuracy - the original's|, outside the forgotten classes
    membership_term  100 x |AUC by loss of forget against validation images of the same class mix - 1/2|

For the scenario `subclass` the forget term is left out: how a retrained model calls images of a subclass it never saw
is known to nobody. Its membership term is a rough guide only, since the validation images of a superclass show all its
subclasses: a retrained model's AUC may lie below 1/2 there.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from qunlearn.evaluation.accuracy import accuracy, accuracy_without
from qunlearn.evaluation.arrays import Floats, Ints, check, losses
from qunlearn.evaluation.membership import auc, matched

REQUIRED = ("forget", "retain", "validation")
SCENARIOS = ("random", "ids", "group", "class", "subclass")


def estimated_gap(
    logits: Mapping[str, Floats],
    original: Mapping[str, Floats],
    labels: Mapping[str, Ints],
    *,
    scenario: str,
    forgotten_classes: Sequence[int] | None,
    seed: int,
) -> dict[str, float]:
    """Mean absolute deviation, in percentage points, from what retraining is estimated to give; lower is better.

    Args:
        logits: of the unlearned model on `forget`, `retain` and `validation`, [N, K]; further subsets are ignored.
        original: of the original model on `retain` and `validation`.
        labels: [N] each.
        scenario: one of `SCENARIOS`.
        forgotten_classes: classes forgotten whole; None or empty where there are none.
        seed: of drawing equally many forget and validation images of each class.

    Returns:
        The terms of the module's docstring, and `estimated_gap`, their mean.

    Raises:
        ValueError: an unknown scenario, a subset missing or unusable, or no class in common between forget and
            validation images.
    """
    _check(logits, original, labels, scenario)
    classes = forgotten_classes or ()
    forget, retain, validation = ((logits[name], labels[name]) for name in REQUIRED)
    terms: dict[str, float] = {}
    if scenario != "subclass":
        unseen = original["validation"], labels["validation"]
        target = 0.0 if scenario == "class" else expected_accuracy(*unseen, like=labels["forget"])
        terms["forget_term"] = abs(accuracy(*forget) - target)
    terms["retain_term"] = abs(accuracy(*retain) - accuracy(original["retain"], labels["retain"]))
    before = accuracy_without(original["validation"], labels["validation"], classes)
    terms["validation_term"] = abs(accuracy_without(*validation, classes) - before)
    own, other = matched(labels["forget"], labels["validation"], seed=seed, other="validation")
    inside, outside = -losses(*forget)[own], -losses(*validation)[other]
    terms["membership_term"] = 100.0 * abs(auc(inside, outside) - 0.5)
    return {**terms, "estimated_gap": float(np.mean(list(terms.values())))}


def expected_accuracy(logits: Floats, labels: Ints, *, like: Ints) -> float:
    """Accuracy in percent on the samples [N] as it would be if their classes were mixed as in `like` [M].

    Each class' accuracy is weighted by its share of `like`; classes without a sample are left out of the mix.

    Raises:
        ValueError: none of the classes in `like` has a sample.
    """
    classes = logits.shape[1]
    counts = np.bincount(labels, minlength=classes)
    correct = np.bincount(labels[logits.argmax(axis=1) == labels], minlength=classes)
    weights = np.where(counts > 0, np.bincount(like, minlength=classes), 0)
    if not weights.any():
        raise ValueError(
            f"the forget set has classes {np.unique(like).tolist()}, the validation set {np.unique(labels).tolist()}; "
            "without a class in common no forget accuracy can be expected; raise split.validation"
        )
    return 100.0 * float(np.average(correct / np.maximum(counts, 1), weights=weights))


def _check(
    logits: Mapping[str, Floats], original: Mapping[str, Floats], labels: Mapping[str, Ints], scenario: str
) -> None:
    if scenario not in SCENARIOS:
        raise ValueError(f"scenario {scenario!r} is unknown; there are {', '.join(SCENARIOS)}")
    for owner, sets, needed in (("the unlearned", logits, REQUIRED), ("the original", original, REQUIRED[1:])):
        if missing := [name for name in needed if name not in sets or name not in labels]:
            raise ValueError(f"logits or labels of {', '.join(missing)} are missing for {owner} model")
        for name in needed:
            check(sets[name], labels[name], name=f"the {name} set under {owner} model")
