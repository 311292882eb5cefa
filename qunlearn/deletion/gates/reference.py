"""Is the model like one that was retrained without the samples?"""

from __future__ import annotations

from qunlearn.config.gates import GatesConfig
from qunlearn.deletion.gates.accuracy import correct, points
from qunlearn.deletion.gates.intervals import paired_interval
from qunlearn.deletion.gates.judgement import FEW, ROUNDING, Gate, Interval, Readings, make_gate
from qunlearn.evaluation.arrays import Ints


def reference_gates(
    before: Readings, after: Readings, reference: Readings, config: GatesConfig, *, forgotten: Ints
) -> tuple[Gate, ...]:
    """`reference_forget`, `reference_retain`, `reference_test`: accuracy minus that of the retrained model, in points.

    The interval must reach to within the margin of 0, since two retrained models differ on few samples by chance alone.
    Too low fails like too high.

    Args:
        forgotten: classes forgotten whole; the test set counts without them.
    """
    gates = []
    for name in ("forget", "retain", "test"):
        without = forgotten if name == "test" else None
        old, new, retrained = (correct(one, name, without=without) for one in (before, after, reference))
        if not len(new):
            continue  # No test sample of a remaining class: the gate `utility` fails for that.
        low, high = paired_interval(new, retrained)
        limit = config.reference_margin
        gates.append(
            make_gate(
                f"reference_{name}",
                _reaches((low, high), limit),
                f"Accuracy on the {name} set ({len(new)} samples) differs from the retrained model's by "
                f"{points(new, retrained):+.2f} points (95 % interval {low:+.2f} to {high:+.2f}); the interval must "
                f"reach to within {limit:g} points of 0.",
                value=points(new, retrained),
                interval=(low, high),
                limit=limit,
                before=points(old, retrained),
                passed_before=_reaches(paired_interval(old, retrained), limit),
                weak=name == "forget" and len(new) < FEW,
            )
        )
    return tuple(gates)


def _reaches(interval: Interval, limit: float) -> bool:
    """Whether some value of the interval lies within `limit` of 0."""
    return interval[0] <= limit + ROUNDING and interval[1] >= -limit - ROUNDING
