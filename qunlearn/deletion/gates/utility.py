"""Is the model still of use?"""

from __future__ import annotations

from qunlearn.config.gates import GatesConfig
from qunlearn.deletion.gates.accuracy import correct, points
from qunlearn.deletion.gates.intervals import paired_interval
from qunlearn.deletion.gates.judgement import ROUNDING, Gate, Readings, make_gate
from qunlearn.evaluation.arrays import Floats, Ints


def utility_gates(before: Readings, after: Readings, config: GatesConfig, *, forgotten: Ints) -> tuple[Gate, Gate]:
    """`utility` and `retain`: accuracy lost, in points; fails when the drop itself, not its interval, is too large.

    Args:
        forgotten: classes forgotten whole; none of their held-out samples counts.
    """
    old, new = (correct(one, "validation", "test", without=forgotten) for one in (before, after))
    return (
        _drop("utility", "Held-out accuracy", old, new, limit=config.utility_drop),
        _drop(
            "retain",
            "Accuracy on retained training samples",
            correct(before, "retain"),
            correct(after, "retain"),
            limit=config.retain_drop,
        ),
    )


def _drop(name: str, what: str, before: Floats, after: Floats, *, limit: float) -> Gate:
    if not len(before):
        text = (
            f"{what} cannot be judged: no validation or test sample is of a class that remains. Raise split.test, or "
            "retire the model instead of unlearning almost all of its classes."
        )
        return make_gate(name, False, text, value=None, limit=limit, before=None, passed_before=False)
    old, new = (100.0 * float(right.mean()) for right in (before, after))
    drop = points(before, after)
    low, high = paired_interval(before, after)
    passed = drop <= limit + ROUNDING
    text = (
        f"{what} went from {old:.2f} to {new:.2f} % of {len(before)} samples, a drop of {drop:.2f} points (95 % "
        f"interval {low:.2f} to {high:.2f}); {limit:g} are allowed."
    )
    if not passed:
        text += " Unlearn with a lower learning rate or fewer epochs, or with another method."
    return make_gate(name, passed, text, value=drop, interval=(low, high), limit=limit, before=0.0, passed_before=True)
