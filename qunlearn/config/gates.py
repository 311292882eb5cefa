"""The block `deletion.gates`: what an unlearned model must pass before it is released."""

from __future__ import annotations

from pydantic import Field

from qunlearn.config.base import Strict


class GatesConfig(Strict):
    """Limits of the gates; docs/gates.md says what each asks, and how often it errs."""

    utility_drop: float = Field(default=2.0, ge=0.0, le=100.0)
    """Points of accuracy that may be lost on validation and test images of the classes that remain."""
    retain_drop: float = Field(default=3.0, ge=0.0, le=100.0)
    """Points of accuracy that may be lost on retained training images."""
    auc_margin: float = Field(default=0.0, ge=0.0, lt=0.5)
    """The interval of the membership AUC must reach down to 0.5 plus this. Above 0 it makes up for an official test set
    that differs a little from the training images, which thousands of samples show of any model."""
    auc_low: float = Field(default=0.4, ge=0.0, le=0.5)
    """The interval of the membership AUC must reach up to this: forgotten images that are conspicuously strange to the
    model can be told apart as well. Of few images, their AUC must not be below what images of this AUC reach in all but
    2.5 of 100 cases. 0 turns the gate off; the warning stays."""
    class_accuracy: float | None = Field(default=None, ge=0.0, le=100.0)
    """The interval of the accuracy on each class that is forgotten whole must reach down to this, in percent; null
    takes chance, 100 / number of classes."""
    reference_margin: float = Field(default=3.0, ge=0.0, le=100.0)
    """The intervals of the differences of forget, retain and test accuracy to a retrained reference, where there is
    one, must reach to within this of 0, in points."""
    resamples: int = Field(default=2000, ge=100, le=100_000)
    """Resamples of the interval of the membership AUC."""
