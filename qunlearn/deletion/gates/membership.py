"""Can the forgotten samples still be told from samples that the model never saw?"""

from __future__ import annotations

import numpy as np

from qunlearn.config.gates import GatesConfig
from qunlearn.deletion.gates.attack import Attack, attack, pairs
from qunlearn.deletion.gates.few import few_gates
from qunlearn.deletion.gates.judgement import FEW, REMEMBERED, Gate, Readings, make_gate, said_of_strangeness
from qunlearn.evaluation.arrays import Ints


def membership_gates(
    before: Readings, after: Readings, config: GatesConfig, *, forgotten: Ints, seed: int, binding: bool
) -> tuple[Gate, ...]:
    """`membership` and `streisand`, by their intervals.

    Where fewer than 30 samples have a test sample for themselves, `loss_percentile` and `streisand`, by laws of chance.

    Args:
        forgotten: classes forgotten whole; their samples are the business of other gates. There are others.
        seed: of drawing test samples, of the bootstrap and of the laws of chance.
        binding: of these gates.
    """
    labels = after.of("forget", without=forgotten)[1]
    if pairs(labels, after.labels["test"], seed=seed) >= FEW:
        old, new = (attack(one, forgotten=forgotten, resamples=config.resamples, seed=seed) for one in (before, after))
        left_out = len(labels) - new.members
        return (
            _recognised(old, new, left_out, limit=0.5 + config.auc_margin, binding=binding),
            _strange(old, new, limit=config.auc_low, binding=binding),
        )
    if np.isin(labels, after.of("validation", "test")[1]).any():
        return few_gates(before, after, config, forgotten=forgotten, seed=seed, binding=binding)
    text = (
        f"Cannot be judged: no validation or test sample is of the classes of the {len(labels)} samples to forget. "
        "Raise split.test, add samples of these classes, or retrain: a model that never saw them needs no such gate."
    )
    limit = 0.5 + config.auc_margin
    return (
        make_gate(
            "membership", False, text, value=None, limit=limit, before=None, passed_before=False, binding=binding
        ),
    )


def _recognised(old: Attack, new: Attack, left_out: int, *, limit: float, binding: bool) -> Gate:
    passed = new.interval[0] <= limit
    text = f"{_found(new)} The interval must reach down to {limit:g}."
    if left_out:
        text += f" {left_out} samples to forget were left out: there are too few test samples of their classes."
    if not passed:
        text += f" {REMEMBERED}"
    return make_gate(
        "membership",
        passed,
        text,
        value=new.auc,
        interval=new.interval,
        limit=limit,
        before=old.auc,
        passed_before=old.interval[0] <= limit,
        binding=binding,
    )


def _strange(old: Attack, new: Attack, *, limit: float, binding: bool) -> Gate:
    passed, passed_before = (one.interval[1] >= limit for one in (new, old))
    text = f"{_found(new)} The interval must reach up to {limit:g}."
    text += said_of_strangeness(passed=passed, passed_before=passed_before, stranger=new.interval[1] < 0.5)
    return make_gate(
        "streisand",
        passed,
        text,
        value=new.auc,
        interval=new.interval,
        limit=limit,
        before=old.auc,
        passed_before=passed_before,
        binding=binding,
    )


def _found(new: Attack) -> str:
    return (
        f"By {new.score}, the score that tells retained from validation samples best, {new.members} samples to forget "
        f"against {new.outsiders} test samples of the same class mix have an AUC of {new.auc:.3f} (95 % interval "
        f"{new.interval[0]:.3f} to {new.interval[1]:.3f}); 0.5 means that they cannot be told apart."
    )
