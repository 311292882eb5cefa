"""A split with few words, for the tests of splits and scenarios."""

from __future__ import annotations

from qunlearn.config import RandomScenario, SplitConfig
from qunlearn.data.splits import make_split

TENTH = RandomScenario(fraction=0.1)


def split_of(image_set, scenario=TENTH, *, target="fine", erased=(), **settings):
    config = SplitConfig(scenario=scenario, **settings)
    return make_split(image_set, config, target=target, erased=frozenset(erased), erased_digest="e" * 64)


def partition_of(split):
    return dict(zip(split.id_column, split.partition_column, strict=True))
