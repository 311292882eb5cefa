"""Made-up readings whose gates can be foreseen."""

from __future__ import annotations

import numpy as np

from qunlearn.deletion.gates import Readings

SIZES = {"forget": 60, "retain": 80, "validation": 80, "test": 120}
TRAINED = ("forget", "retain")


def labels_of(sizes=SIZES, *, classes=4):
    """Classes in turn, so that every set has the same mix."""
    return {name: np.arange(count) % classes for name, count in sizes.items()}


def readings(labels, *, trained=TRAINED, seed=0, classes=4, ahead=3.0, lead=4.0):
    """A network that is right on all samples and by `lead` nats surer of those it was trained on."""
    generator = np.random.default_rng(seed)
    logits = {}
    for name, truth in labels.items():
        logits[name] = generator.uniform(0.0, 1.0, (len(truth), classes))
        logits[name][np.arange(len(truth)), truth] = generator.uniform(ahead, ahead + 4.0, len(truth)) + lead * (
            name in trained
        )
    return Readings(logits, labels)


def right(labels, counts, *, classes=4):
    """A network that is right on the first `counts[set]` samples of a set only, on all where no count is given."""
    logits = {}
    for name, truth in labels.items():
        wrong = np.arange(len(truth)) >= counts.get(name, len(truth))
        logits[name] = np.eye(classes)[np.where(wrong, (truth + 1) % classes, truth)] * 5.0
    return Readings(logits, labels)


def changed(one, name, places, values):
    """The same readings with the logits of some samples of a set replaced."""
    logits = one.logits[name].astype(float).copy()
    logits[places] = values
    return Readings({**one.logits, name: logits}, one.labels)


def gate(judgement, name):
    (found,) = [one for one in judgement.gates if one.name == name]
    return found
