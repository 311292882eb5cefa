"""All gates for one candidate."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from qunlearn.config.gates import GatesConfig
from qunlearn.deletion.gates.accuracy import accuracies
from qunlearn.deletion.gates.classes import class_gates
from qunlearn.deletion.gates.judgement import SETS, Gate, Judgement, Readings, make_gate
from qunlearn.deletion.gates.membership import membership_gates
from qunlearn.deletion.gates.reference import reference_gates
from qunlearn.deletion.gates.utility import utility_gates


def judge(
    before: Readings,
    after: Readings,
    config: GatesConfig,
    *,
    forgotten_classes: Sequence[int],
    reference: Readings | None = None,
    seed: int,
    retrained: bool = False,
) -> Judgement:
    """Evaluate the gates that the samples to forget call for.

    Args:
        before: of the champion; after: of the candidate. The same samples in the same order.
        forgotten_classes: those that are forgotten whole; samples of other classes may be forgotten with them.
        reference: of a model retrained without the samples to forget, where one is at hand.
        seed: of drawing test samples, of the bootstrap and of the percentiles' law: the same seed, the same judgement.
        retrained: the candidate was itself trained without the samples, from fresh weights. Then what the membership
            gates find is in the samples, not in the model: they are evaluated and shown, but not binding.

    Raises:
        ValueError: the readings are not of the same samples, or a class does not exist. No logit makes this raise.
    """
    models = {"before": before, "after": after} | ({} if reference is None else {"reference": reference})
    _check(models, forgotten_classes)
    forgotten = np.unique(np.asarray(forgotten_classes, dtype=np.int64))
    metrics = {f"{name}_samples": float(len(after.labels[name])) for name in SETS}
    for name, readings in models.items():
        if not readings.broken:
            metrics |= accuracies(name, readings, forgotten=forgotten)
    if any(readings.broken for readings in models.values()):
        return Judgement((_not_finite(models),), metrics)

    gates = [*utility_gates(before, after, config, forgotten=forgotten)]
    if len(after.of("forget", without=forgotten)[1]):
        gates += membership_gates(before, after, config, forgotten=forgotten, seed=seed, binding=not retrained)
    if len(forgotten):
        gates += class_gates(before, after, config, forgotten=forgotten)
    if reference is not None:
        gates += reference_gates(before, after, reference, config, forgotten=forgotten)
    return Judgement(tuple(gates), metrics)


def _not_finite(models: Mapping[str, Readings]) -> Gate:
    names = {"before": "champion", "after": "candidate", "reference": "retrained reference"}
    advice = {
        "before": "The champion itself is broken: release an earlier version of it.",
        "after": "Unlearning diverged: lower the method's learning rate, or take another method.",
        "reference": "The reference is broken: judge without it, or retrain it.",
    }
    broken = {name: readings.broken for name, readings in models.items() if readings.broken}
    found = " and ".join(f"{count} samples by the {names[name]}" for name, count in broken.items())
    text = f"Cannot be judged: logits of {found} hold NaN, infinity or numbers beyond float32."
    return make_gate(
        "finite",
        False,
        " ".join([text, *(advice[name] for name in broken)]),
        value=float(sum(broken.values())),
        limit=0.0,
        before=float(models["before"].broken),
        passed_before="before" not in broken,
    )


def _check(models: Mapping[str, Readings], forgotten_classes: Sequence[int]) -> None:
    after = models["after"]
    for name, readings in models.items():
        if readings.classes != after.classes:
            raise ValueError(
                f"`{name}` has {readings.classes} classes, `after` {after.classes}; judge models of one task"
            )
        for one in SETS:
            if not np.array_equal(readings.labels[one], after.labels[one]):
                raise ValueError(
                    f"the labels of the {one} set differ between `{name}` and `after`; read both models on the same "
                    "samples in the same order"
                )
    if unknown := [one for one in forgotten_classes if not 0 <= one < after.classes]:
        raise ValueError(f"forgotten classes {unknown} do not exist; there are classes 0 to {after.classes - 1}")
