"""The candidates of a grid, how settings came about, and one clear line for each mistake."""

import itertools
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qunlearn.config import ConfigError
from qunlearn.unlearning import choices, methods, resolve
from qunlearn.unlearning.grid import SEARCH_KEYS


def choice(name="oeu", **block):
    return choices({name: block})[name]


def complaint(name="oeu", **block):
    with pytest.raises(ConfigError) as caught:
        choices({name: block})
    return str(caught.value).splitlines()


def test_candidates_are_the_product_in_the_order_written():
    found = choice(epochs=3, grid={"learning_rate": [0.1, 0.01], "lambda": [2, 1]})
    assert [dict(candidate.values) for candidate in found.candidates] == [
        {"learning_rate": 0.1, "lambda": 2.0},
        {"learning_rate": 0.1, "lambda": 1.0},
        {"learning_rate": 0.01, "lambda": 2.0},
        {"learning_rate": 0.01, "lambda": 1.0},
    ]
    assert [candidate.config.epochs for candidate in found.candidates] == [3, 3, 3, 3]
    assert [candidate.config.learning_rate for candidate in found.candidates] == [0.1, 0.1, 0.01, 0.01]


@given(
    st.dictionaries(
        st.sampled_from(["learning_rate", "weight_decay", "epochs", "batch_size"]),
        st.lists(st.integers(1, 50), min_size=1, max_size=4, unique=True),
        min_size=1,
    )
)
def test_any_grid_of_allowed_values_is_its_product(grid):
    found = choice(grid=grid)
    points = [tuple(candidate.values.values()) for candidate in found.candidates]
    assert points == list(itertools.product(*grid.values()))
    for candidate in found.candidates:
        for name, value in candidate.values.items():
            assert getattr(candidate.config, name) == value


def test_values_are_those_the_method_understood_and_are_plain_json():
    found = choice(grid={"learning_rate": ["1e-2", 1], "strict": [True, False], "ema": [None, 0.5]})
    values = found.candidates[0].values
    assert values == {"learning_rate": 0.01, "strict": True, "ema": None}
    assert json.loads(json.dumps(values)) == values
    assert found.candidates[0].label == "learning_rate=0.01, strict=true, ema=null"


@pytest.mark.parametrize(
    ("block", "expected", "more"),
    [
        ({}, "defaults", []),
        ({"epochs": 3}, "given", []),
        ({"grid": {"epochs": [1, 2]}}, "validation", ["validation"]),
        ({"grid": {"epochs": [1]}, "oracle": False, "lambda": 2}, "validation", ["validation"]),
        ({"grid": {"epochs": [1]}, "oracle": True}, "oracle", ["test", "retrained model"]),
    ],
)
def test_how_settings_came_about_and_what_was_seen_for_them(block, expected, more):
    found = choice(**block)
    assert found.selected_by == expected
    assert found.data_access == ["forget", "original", "retain", *more]


def test_resolve_gives_the_settings_without_the_grid():
    config = resolve({"oeu": {"epochs": 3, "grid": {"learning_rate": [0.5]}, "oracle": True}, "qmul": {}})
    assert config == resolve({"oeu": {"epochs": 3}, "qmul": {}})


def test_wrong_value_names_its_place_once_however_many_points_it_is_part_of():
    lines = complaint(grid={"learning_rate": [0.1, -1], "epochs": [1, 2, 3]})
    assert lines == [
        "params.yaml: unlearn.oeu.grid.learning_rate[1] = -1: Input should be greater than or equal to 0",
    ]


def test_all_mistakes_of_a_block_come_together():
    lines = complaint(epochs=0, oracle="maybe", grid={"learning_rate": [-1], "batch_size": [1, 0]})
    assert [line.split(" = ")[0] for line in lines] == [
        "params.yaml: unlearn.oeu.epochs",
        "params.yaml: unlearn.oeu.oracle",
        "params.yaml: unlearn.oeu.grid.learning_rate[0]",
        "params.yaml: unlearn.oeu.grid.batch_size[1]",
    ]


def test_impossible_combination_names_all_its_places():
    assert complaint(grid={"ema": [None, 0.9], "memory": [1, 2]}) == [
        "params.yaml: unlearn.oeu.grid: ema[1] = 0.9, memory[1] = 2: give ema or memory, not ema: 0.9 and memory: 2"
    ]


def test_switch_in_place_of_a_number_is_refused_once_and_at_its_place():
    (line,) = complaint(grid={"learning_rate": [0.1, True], "epochs": [1, 2]})
    assert line.startswith("params.yaml: unlearn.oeu.grid.learning_rate[1] = True: true and false ")


@pytest.mark.parametrize(
    ("block", "message"),
    [
        ({"grid": {"lr": [1]}}, "unlearn.oeu.grid.lr: no such setting; allowed here: augment, batch_norm, "),
        ({"grid": {"lambda_": [1]}}, "unlearn.oeu.grid.lambda_: no such setting"),
        ({"grid": {"grid": [1]}}, "unlearn.oeu.grid.grid: no such setting"),
        ({"grid": {3: [1]}}, "unlearn.oeu.grid.3: no such setting"),
        ({"grid": {"epochs": []}}, "unlearn.oeu.grid.epochs = []: must be a list of one or more values"),
        ({"grid": {"epochs": 3}}, "unlearn.oeu.grid.epochs = 3: must be a list of one or more values"),
        ({"grid": {"forget_loss": "uniform"}}, "unlearn.oeu.grid.forget_loss = 'uniform': must be a list"),
        (
            {"grid": {"epochs": [2, 3, 2]}},
            "unlearn.oeu.grid.epochs[2] = 2: the same as epochs[0]; name each value once",
        ),
        ({"grid": {"learning_rate": [0.01, "1e-2"]}}, "unlearn.oeu.grid.learning_rate[1] = '1e-2': the same as"),
        (
            {"grid": {"epochs": [3]}, "epochs": 3},
            "unlearn.oeu.grid.epochs: unlearn.oeu.epochs = 3 fixes the same setting",
        ),
        ({"grid": {}}, "unlearn.oeu.grid = {}: must be a block of settings, each with a list of values"),
        ({"grid": None}, "unlearn.oeu.grid = None: must be a block of settings"),
        ({"grid": [1]}, "unlearn.oeu.grid = [1]: must be a block of settings"),
        ({"oracle": True}, "unlearn.oeu.oracle: says how a grid is searched; give unlearn.oeu.grid, or take it out"),
        ({"oracle": False}, "unlearn.oeu.oracle: says how a grid is searched"),
        ({"grid": {"epochs": [1]}, "oracle": 1}, "unlearn.oeu.oracle = 1: must be true or false"),
    ],
)
def test_mistake_is_one_line_that_says_what_to_do(block, message):
    lines = complaint(**block)
    assert len(lines) == 1
    assert lines[0].startswith(f"params.yaml: {message}")


def test_repeated_values_of_two_settings_are_each_named_once():
    lines = complaint(grid={"epochs": [1, 1], "batch_size": [4, 8, 4]})
    assert [line.split(": ")[1] for line in lines] == [
        "unlearn.oeu.grid.batch_size[2] = 4",
        "unlearn.oeu.grid.epochs[1] = 1",
    ]


def test_no_method_has_a_setting_that_means_a_search():
    for method in methods().values():
        names = {name for key, field in method.config.model_fields.items() for name in (key, field.alias)}
        assert not names & set(SEARCH_KEYS)


def test_unknown_methods_and_mistakes_of_grids_come_together():
    with pytest.raises(ConfigError) as caught:
        choices({"salami": {}, "oeu": {"grid": {}}, "qmul": {"oracle": True}})
    assert len(str(caught.value).splitlines()) == 3
