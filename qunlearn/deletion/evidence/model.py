"""How the served model changed: which models, by which method, with what figures, past which gates."""

from __future__ import annotations

from typing import Literal

from pydantic import NonNegativeInt, PositiveInt, model_validator

from qunlearn.deletion.evidence.fields import Interval, Part, Sha256, Text


class ServedModel(Part):
    """A version of the model that is served."""

    name: Text
    """Of the registered model."""
    version: PositiveInt
    """In the model registry."""
    weights: Sha256
    """Digest of the file with all its weights."""
    training_ids: Sha256
    """Digest of the ids that it was trained on and has not forgotten."""
    training_samples: PositiveInt
    """How many those are."""


class ModelChange(Part):
    """The version served before, and the one served since."""

    before: ServedModel
    """The old model."""
    after: ServedModel
    """The new model."""


class Parent(Part):
    """A model from which the next one was made."""

    version: PositiveInt | None
    """In the model registry; null where it was never there."""
    weights: Sha256
    """Digest of the file with all its weights."""
    method: Text
    """What made it: full training, or an unlearning method."""


class Method(Part):
    """What made the new model."""

    name: Text
    """A row of the parameters, or an unlearning method; retrain for full training."""
    parameters: Sha256
    """Digest of its settings as canonical JSON."""
    seed: NonNegativeInt
    """Of all randomness in it."""
    parents: tuple[Parent, ...]
    """The models it descends from, the fully trained one first; empty where it was fully trained itself."""
    sequential: NonNegativeInt
    """Unlearnings one after the other since the last full training, this one included: their errors add up."""
    limit: NonNegativeInt | None
    """How many are allowed before the next full training; null for no limit."""

    @model_validator(mode="after")
    def _one_parent_each(self) -> Method:
        if self.sequential != len(self.parents):
            raise ValueError("each of the sequential unlearnings has one parent")
        return self


class Estimate(Part):
    """A figure of one model."""

    value: float
    """In the unit of the figure."""
    interval: Interval | None
    """Ends of its 95 % interval; null where none was computed."""


class Metric(Part):
    """One figure of both models, on the same samples."""

    subset: Literal["forget", "retain", "validation", "test"]
    """Which samples; `forget` are those of the whole batch."""
    name: Text
    """What was measured."""
    unit: Text
    """Of value and interval; `%` for percentages from 0 to 100."""
    samples: PositiveInt | None
    """How many; null where a part of the subset was left out."""
    before: Estimate
    """Of the old model."""
    after: Estimate
    """Of the new model."""
    retrained: Estimate | None
    """Of a model trained without the samples; null where none was at hand."""


class Gate(Part):
    """A condition that a model must meet before it may be served, put to the new model and to the old one."""

    name: Text
    """Of the condition."""
    passed: bool
    """Whether the new model meets it."""
    value: float | None
    """What was measured on the new model; null where it is no single number."""
    interval: Interval | None
    """Ends of its 95 % interval; null where none was computed."""
    limit: float | None
    """What value or interval was held against; null where that is no single number."""
    before: float | None
    """What was measured on the old model."""
    passed_before: bool
    """Whether the old model met the condition."""
    informative: bool
    """False where it asks for forgetting and the old model met it: it then says nothing about what was done."""
    weak: bool
    """True where so few samples are judged that the result is a hint at most."""
    binding: bool
    """False where a model may be served without meeting it."""
    text: Text
    """What was measured and held against what, in words."""


class Attempt(Part):
    """A method that was tried before, whose model was not released."""

    method: Text
    """Its name."""
    seed: NonNegativeInt | None
    """Of all randomness in it; null where it did not come to run."""
    failed: tuple[Text, ...]
    """Names of the gates that its model did not pass."""
    reason: Text
    """Why it was not released, in words."""
