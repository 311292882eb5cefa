"""docs/metrics.md says how many seeds it takes until an honest method is `within`; the verdict itself is asked."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from qunlearn.evaluation.verdict import judge, margin

PAGE = Path(__file__).parents[2] / "docs" / "metrics.md"
CLAIM = re.search(r"with probability (.*?)\. With", PAGE.read_text(encoding="utf-8"), re.DOTALL)[1]
CLAIMED = {int(seeds): float(chance) for chance, seeds in re.findall(r"(0\.\d+)\s+for\s+(\d+)", CLAIM)}
DRAWS = 800


def test_the_page_gives_five_numbers_of_seeds():
    assert list(CLAIMED) == [3, 5, 8, 12, 16]


@pytest.mark.parametrize("seeds", CLAIMED)
def test_an_honest_method_is_within_as_often_as_the_page_says(seeds):
    generator = np.random.default_rng(seeds)
    within = 0
    for _ in range(DRAWS):
        retrained, honest = 90.0 + generator.normal(size=(2, seeds))
        references = [{"test_accuracy": value, "test_samples": 10_000.0} for value in retrained]
        allowed = margin("test_accuracy", references)
        within += judge("test_accuracy", list(honest - retrained), allowed=allowed).verdict == "within"

    error = (CLAIMED[seeds] * (1 - CLAIMED[seeds]) / DRAWS) ** 0.5
    assert within / DRAWS == pytest.approx(CLAIMED[seeds], abs=4 * error + 0.005)
