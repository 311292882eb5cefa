"""Where images come from: every source becomes the same `ImageSet`."""

from __future__ import annotations

from qunlearn.config import DataConfig, DigitsSource, ImageFolderSource
from qunlearn.data.imageset import ImageSet
from qunlearn.data.sources import digits, image_folder, torchvision_sets
from qunlearn.data.sources.subset import subset_mask
from qunlearn.data.statistics import with_statistics


def read(config: DataConfig, *, erased: frozenset[str] = frozenset()) -> ImageSet:
    """The image set that `config` describes, without the samples `erased`.

    First the subset is drawn, then erased samples are left out, so nothing takes their place; mean and standard
    deviation come from what remains of the training part.

    Raises:
        ValueError: input that is missing, corrupt, empty or of mixed size, with the file's name; an impossible subset;
            coarse labels of a source that has none; everything erased.
    """
    if isinstance(config, DigitsSource):
        image_set = digits.read()
    elif isinstance(config, ImageFolderSource):
        image_set = image_folder.read(config)
    else:
        image_set = torchvision_sets.read(config)
    image_set.targets(config.target)
    keep = subset_mask(image_set, config.subset, seed=config.seed)
    keep &= [one not in erased for one in image_set.ids]
    if not keep[~image_set.official_test_mask()].any():
        raise ValueError(f"{image_set.meta.name}: all training images are erased; nothing is left to train on")
    return with_statistics(image_set if keep.all() else image_set.select(keep))
