"""The blocks `data` and `split`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, NonNegativeInt, PositiveInt, model_validator

from qunlearn.config.base import Seed, Strict


class _Source(Strict):
    target: Literal["fine", "coarse"] = "fine"
    """Which labels are the task: the classes, or the superclasses."""
    subset: PositiveInt | None = None
    """Keep this many images, drawn class-balanced with `seed`; null keeps all. Test images are drawn in proportion."""
    seed: Seed = 0
    """Seed of `subset`."""


class DigitsSource(_Source):
    """scikit-learn's 1,797 real handwritten digits (8 x 8), shipped with that package: no download."""

    source: Literal["digits"] = "digits"


class TorchvisionSource(_Source):
    """An image set that torchvision reads."""

    source: Literal["mnist", "fashion_mnist", "cifar10", "cifar100", "svhn"]
    root: Path = Path("data/raw")
    """Folder with torchvision's own layout."""
    download: bool = False
    """Fetch missing files from the set's publisher."""

    @model_validator(mode="after")
    def _coarse_labels_exist(self) -> TorchvisionSource:
        if self.target == "coarse" and self.source != "cifar100":
            raise ValueError(f"{self.source} has no superclasses; target: coarse is possible for digits and cifar100")
        return self


class ImageFolderSource(_Source):
    """The user's own images, one folder a class, all of one size."""

    source: Literal["image_folder"]
    root: Path
    """Folder that holds one folder of images per class."""
    metadata: Path | None = None
    """CSV with the column `file` (path below root) and any of `sample_id`, `subject`, `coarse`."""


DataConfig = Annotated[DigitsSource | TorchvisionSource | ImageFolderSource, Field(discriminator="source")]


def _index_or_name(value: Any) -> Any:
    if not isinstance(value, int | str):
        raise ValueError("a class is given by its index (a whole number) or its name (text)")
    return value


ClassLabel = Annotated[int | str, BeforeValidator(_index_or_name)]


Fraction = Annotated[float, Field(gt=0.0, lt=1.0)]


class RandomScenario(Strict):
    """Forget a random part of the training images."""

    kind: Literal["random"] = "random"
    fraction: Fraction | None = None
    """Share of the training images, above 0 and below 1."""
    count: PositiveInt | None = None
    """Number of training images."""

    @model_validator(mode="after")
    def _exactly_one(self) -> RandomScenario:
        if (self.fraction is None) == (self.count is None):
            raise ValueError(
                f"give exactly one of fraction and count, not fraction={self.fraction}, count={self.count}"
            )
        return self


class ClassScenario(Strict):
    """Forget all training images of whole classes of the task."""

    kind: Literal["class"]
    classes: list[ClassLabel] = Field(min_length=1)
    """Classes by index or name."""


class SubclassScenario(Strict):
    """Forget fine classes inside a superclass: the task must be `data.target: coarse`.

    The rest of the superclass is the *adjacent* retained data, all else *remote*.
    """

    kind: Literal["subclass"]
    classes: list[ClassLabel] = Field(min_length=1)
    """Fine classes by index or name."""


class GroupScenario(Strict):
    """Forget all training images of the given subjects."""

    kind: Literal["group"]
    subjects: list[NonNegativeInt] = Field(min_length=1)
    """Subjects, as the integers in `subjects.npy`."""


class IdsScenario(Strict):
    """Forget the training images that a file names, one id a line."""

    kind: Literal["ids"]
    file: Path


Scenario = Annotated[
    RandomScenario | ClassScenario | SubclassScenario | GroupScenario | IdsScenario, Field(discriminator="kind")
]


class SplitConfig(Strict):
    seed: Seed = 0
    """The split depends on this seed alone; `seeds` vary training."""
    validation: Fraction = 0.1
    """Share of the training images of each class that is set aside for choosing."""
    test: Fraction = 0.2
    """Share of the images of each class used for testing where the source has no official test part."""
    scenario: Scenario
