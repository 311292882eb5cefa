"""Can the forgotten samples still be told from samples that the model never saw?"""

from __future__ import annotations

import numpy as np

from qunlearn.config.gates import GatesConfig
from qunlearn.deletion.gates.attack import Attack, attack, pairs
from qunlearn.deletion.gates.judgement import FEW, Gate, Readings, make_gate
from qunlearn.deletion.gates.percentiles import class_sums, lowest_allowed, mean_percentiles
from qunlearn.evaluation.arrays import Ints
from qunlearn.evaluation.attack_features import logit_scaled_confidences


def membership_gates(
    before: Readings, after: Readings, config: GatesConfig, *, forgotten: Ints, seed: int, binding: bool
) -> tuple[Gate, ...]:
    """`membership` and `streisand`, or `loss_percentile` where fewer than 30 samples have a test sample for themselves.

    Args:
        forgotten: classes forgotten whole; their samples are the business of other gates. There are others.
        seed: of drawing test samples, of the bootstrap and of the percentiles' law.
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
        return (_percentile(before, after, forgotten=forgotten, seed=seed, binding=binding),)
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
        text += " The model still knows the samples: unlearn longer, or with another method."
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
    passed = new.interval[1] >= limit
    text = f"{_found(new)} The interval must reach up to {limit:g}."
    if not passed:
        text += (
            " The samples are conspicuously strange to the model and can be found by that: unlearn more gently, or "
            "with another method."
        )
    elif new.interval[1] < 0.5:
        text += " Warning: the samples are stranger to the model than samples it never saw."
    return make_gate(
        "streisand",
        passed,
        text,
        value=new.auc,
        interval=new.interval,
        limit=limit,
        before=old.auc,
        passed_before=old.interval[1] >= limit,
        binding=binding,
    )


def _found(new: Attack) -> str:
    return (
        f"By {new.score}, the score that tells retained from validation samples best, {new.members} samples to forget "
        f"against {new.outsiders} test samples of the same class mix have an AUC of {new.auc:.3f} (95 % interval "
        f"{new.interval[0]:.3f} to {new.interval[1]:.3f}); 0.5 means that they cannot be told apart."
    )


def _percentile(before: Readings, after: Readings, *, forgotten: Ints, seed: int, binding: bool) -> Gate:
    labels, held_labels = after.of("forget", without=forgotten)[1], after.of("validation", "test")[1]
    classes = np.intersect1d(labels, held_labels)
    asked, held = (np.array([int((side == one).sum()) for one in classes]) for side in (labels, held_labels))

    def mean(readings: Readings) -> float:
        own, unseen = readings.of("forget"), readings.of("validation", "test")
        losses, unseen_losses = (-logit_scaled_confidences(*side) for side in (own, unseen))
        return float(mean_percentiles(class_sums(losses, own[1], unseen_losses, unseen[1], classes), asked, held))

    was, value, limit = mean(before), mean(after), lowest_allowed(asked, held, seed=seed)
    weak = bool(min(asked.sum(), held.sum()) < FEW)
    text = (
        f"{'Weak evidence, from' if weak else 'From'} {asked.sum()} samples: of the losses of {held.sum()} held-out "
        f"samples of their classes, {value:.1f} % on average are not above theirs. Of a model that never saw them it "
        f"is about 50 %, and below {limit:.1f} %, the limit, in 5 of 100 cases."
    )
    if asked.sum() >= FEW:
        text += f" An AUC needs {FEW} samples with a test sample of their class for themselves."
    if len(labels) > asked.sum():
        text += f" {len(labels) - asked.sum()} samples were left out: no held-out sample is of their classes."
    if value < limit:
        text += " The model still knows the samples: unlearn longer, or with another method."
    if limit <= mean_percentiles(asked, asked, held):
        text += " There are too few held-out samples for this gate ever to fail; add some of these classes."
    return make_gate(
        "loss_percentile",
        value >= limit,
        text,
        value=value,
        limit=limit,
        before=was,
        passed_before=was >= limit,
        weak=weak,
        binding=binding,
    )
