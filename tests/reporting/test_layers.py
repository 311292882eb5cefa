"""Heat maps by layer."""

import pytest

from qunlearn.reporting.layers import code_flips, layer_conflicts
from qunlearn.reporting.study import Study


def column(heat_map, method):
    place = [model.name for model in heat_map.models].index(method)
    return {layer: shades[place] for layer, shades in heat_map.rows}


def test_flips_are_means_over_seeds_without_the_original(evaluation):
    flips = code_flips(Study(evaluation))
    cells = [c["stats"]["code_flips_by_layer"]["conv1"] for c in evaluation["cells"] if c["method"] == "qmul"]

    assert "original" not in [model.name for model in flips.models]
    assert column(flips, "qmul")["conv1"].value.number == pytest.approx(sum(cells) / 3)
    assert len(flips.rows) == len(evaluation["context"]["audit"])


def test_conflicts_are_coloured_by_sign_relative_to_the_largest(evaluation):
    cosines = layer_conflicts(Study(evaluation))
    shades = [shade for _, row in cosines.rows for shade in row]

    assert {model.name for model in cosines.models} == {"oeu", "qmul"}
    assert max(abs(shade.strength) for shade in shades) == 1.0
    assert all(shade.strength * shade.value.number >= 0 for shade in shades)


def test_a_float_network_has_no_map_of_flips(float_network):
    assert code_flips(Study(float_network)) is None


def test_a_layer_that_a_method_lacks_is_empty(evaluation):
    cells = [{**c, "stats": {**c["stats"]}} for c in evaluation["cells"]]
    for cell in cells:
        if cell["method"] == "oeu":
            known = cell["stats"]["code_flips_by_layer"]
            cell["stats"]["code_flips_by_layer"] = {k: v for k, v in known.items() if k != "fc"}
    flips = code_flips(Study({**evaluation, "cells": cells}))

    assert column(flips, "oeu")["fc"].value is None
    assert column(flips, "qmul")["fc"].value is not None
