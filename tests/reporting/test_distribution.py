"""Small multiples of confidence and loss."""

import copy
import re

import numpy as np
import pytest

from qunlearn.reporting.distribution import columns, distribution_panels
from qunlearn.reporting.study import Study


@pytest.mark.parametrize("kind", ["confidence", "loss"])
def test_each_model_is_drawn_over_the_retrained_one(evaluation, kind):
    panels = distribution_panels(Study(evaluation), kind)

    assert [panel.model.name for panel in panels] == [
        row["method"] for row in evaluation["summary"] if row["method"] != "retrain"
    ]
    for panel in panels:
        assert re.findall(r'<path class="([^"]+)"', panel.figure) == ["area", "line test", "line retrain"]


def test_a_model_like_the_retrained_one_fills_its_outline(evaluation):
    changed = copy.deepcopy(evaluation)
    retrained = {c["seed"]: c["stats"]["histograms"] for c in changed["cells"] if c["method"] == "retrain"}
    for cell in changed["cells"]:
        if cell["method"] == "oeu":
            cell["stats"]["histograms"] = retrained[cell["seed"]]
    panel = next(p for p in distribution_panels(Study(changed), "loss") if p.model.name == "oeu")
    area, outline = (re.search(f'class="{css}" d="M([^"]+)"', panel.figure)[1] for css in ("area", "line retrain"))

    assert outline in area


@pytest.mark.parametrize(("count", "expected"), [(1, 3), (4, 4), (5, 3), (6, 3), (7, 4), (8, 4), (9, 3), (19, 4)])
def test_the_last_line_of_small_multiples_is_as_full_as_can_be(count, expected):
    assert columns(count) == expected


def test_shares_are_means_over_the_seeds(evaluation):
    changed = copy.deepcopy(evaluation)
    cells = [cell for cell in changed["cells"] if cell["method"] == "oeu"]
    mean = np.mean([cell["stats"]["histograms"]["loss"]["forget"] for cell in cells], axis=0).tolist()
    for cell in cells:
        cell["stats"]["histograms"]["loss"]["forget"] = mean
    before, after = (
        next(p.figure for p in distribution_panels(Study(e), "loss") if p.model.name == "oeu")
        for e in (evaluation, changed)
    )

    assert before == after


def test_a_model_without_histograms_is_left_out(evaluation):
    changed = copy.deepcopy(evaluation)
    for cell in changed["cells"]:
        if cell["method"] in ("oeu", "retrain"):
            del cell["stats"]["histograms"]
    panels = distribution_panels(Study(changed), "confidence")

    assert {"oeu", "retrain"}.isdisjoint(panel.model.name for panel in panels)
    assert all("line retrain" not in panel.figure for panel in panels)


def test_the_loss_axis_shows_powers_of_ten(evaluation):
    figure = distribution_panels(Study(evaluation), "loss")[0].figure

    assert all(f">{mark}<" in figure for mark in ("10⁻⁶", "10⁻⁴", "10⁻²", "1"))
