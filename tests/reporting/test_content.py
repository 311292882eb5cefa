"""What the headline and the main table say."""

import copy
import re
from pathlib import Path

import pytest

from qunlearn.reporting import content
from qunlearn.reporting.source import DASH, plain
from qunlearn.reporting.study import Study


def cells(evaluation, method):
    line = next(line for line in content.lines(Study(evaluation)) if line.model.name == method)
    return {cell.column.key: cell for cell in line.cells}


def best(evaluation, key):
    lines = content.lines(Study(evaluation))
    return [line.model.name for line in lines for cell in line.cells if cell.best and cell.column.key == key]


def finding(evaluation):
    return plain(content.finding(Study(evaluation)))


def row_of(evaluation, method):
    return next(row for row in evaluation["summary"] if row["method"] == method)


@pytest.fixture
def changed(evaluation):
    return copy.deepcopy(evaluation)


def test_best_is_the_method_closest_to_retrain_never_a_reference(evaluation):
    assert best(evaluation, "forget_accuracy") == ["oeu"]  # not the highest: the one most like retrain's
    assert best(evaluation, "average_gap") == ["oeu"]
    assert best(evaluation, "cost_ratio") == ["gradient_ascent"]
    assert best(evaluation, "verdict") == best(evaluation, "code_flips") == []


def test_nothing_is_best_where_all_methods_tie(changed):
    for row in changed["summary"]:
        row["mean"]["retain_accuracy"] = 100.0

    assert best(changed, "retain_accuracy") == []
    assert best(changed, "test_accuracy") != []


def test_methods_that_share_the_first_place_are_all_best(changed):
    for method in ("qmul", "oeu"):
        row_of(changed, method)["mean"]["retain_accuracy"] = row_of(changed, "retrain")["mean"]["retain_accuracy"]

    assert best(changed, "retain_accuracy") == ["qmul", "oeu"]


def test_an_oracle_is_never_best(changed):
    row_of(changed, "random_label")["mean"]["average_gap"] = 0.0

    assert best(changed, "average_gap") == ["oeu"]
    assert content.closest(Study(changed)).name == "oeu"
    assert "random_label ORACLE comes closer still" in finding(changed)


def test_cells_show_mean_with_deviation_and_gap_with_its_raw_interval(changed):
    row = row_of(changed, "qmul")
    row["interval"]["average_gap"] = [-0.42, 2.2]
    mean, std = row["mean"], row["std"]
    shown = cells(changed, "qmul")

    assert shown["forget_accuracy"].text == f"{mean['forget_accuracy']:.2f} ± {std['forget_accuracy']:.2f}"
    assert shown["average_gap"].text == f"{mean['average_gap']:.2f} [\N{MINUS SIGN}0.42, 2.20]"
    assert shown["code_flips"].text == f"{100 * mean['code_flips']:.1f} %"


def test_what_does_not_exist_is_a_dash(evaluation, one_seed):
    assert cells(evaluation, "retrain")["average_gap"].text == DASH
    assert cells(evaluation, "original")["cost_ratio"].text == DASH
    assert cells(one_seed, "oeu")["gap_ratio"].text == DASH
    assert "±" not in cells(one_seed, "oeu")["forget_accuracy"].text


def test_a_float_network_has_no_column_of_codes(evaluation, float_network):
    assert "code_flips" in cells(evaluation, "oeu")
    assert "code_flips" not in cells(float_network, "oeu")


def test_times_that_were_not_taken_alone_are_marked(changed):
    row_of(changed, "oeu")["concurrent"] = True

    assert cells(changed, "oeu")["cost_ratio"].text.endswith(" *")
    assert not cells(changed, "qmul")["cost_ratio"].text.endswith("*")


def test_finding_names_the_methods_within_and_the_closest(changed):
    for row in changed["summary"]:
        if row["method"] not in ("original", "retrain"):
            row["verdict"] = "within" if row["method"] in ("qmul", "oeu") else "under"

    assert finding(changed).startswith("qmul and oeu cannot be told from retraining")
    assert "oeu comes closest" in finding(changed)


def test_finding_says_where_not_to_unlearn_comes_as_close(changed):
    assert "untouched original" not in finding(changed)
    gap = row_of(changed, "oeu")["mean"]["average_gap"]
    for nearer in (gap, gap - 0.5):
        row_of(changed, "original")["mean"]["average_gap"] = nearer
        assert "The untouched original is no further away, with" in finding(changed)


def test_finding_names_all_that_share_the_first_place(changed):
    row_of(changed, "qmul")["mean"]["average_gap"] = row_of(changed, "oeu")["mean"]["average_gap"]

    assert "qmul and oeu come closest" in finding(changed)


def test_finding_never_claims_success_where_there_is_none(evaluation, one_seed):
    assert not [model for model in Study(evaluation).methods if model.verdict == "within"]
    assert finding(evaluation).startswith("No method is within")
    assert finding(one_seed).startswith("Fewer than 3 seeds were run, so no verdict is given")


def test_finding_without_methods_says_so(changed):
    changed["summary"] = [row for row in changed["summary"] if row["method"] in ("original", "retrain")]

    assert finding(changed).startswith("No unlearning method was run")
    assert content.cards(Study(changed)) == []


def test_tally_counts_every_method_once_best_verdict_first(many_methods, one_seed):
    counted = content.tally(Study(many_methods))
    order = [name for name, _ in counted]

    assert sum(value.number for _, value in counted) == 18
    assert order == [name for name in content.VERDICTS if name in order]
    assert content.tally(Study(one_seed)) == []


def test_the_tally_says_that_no_method_is_within(evaluation):
    (name, value), *_ = content.tally(Study(evaluation))

    assert (name, value.number) == ("within", 0)


def test_where_all_is_inconclusive_the_page_says_how_many_seeds_it_takes(changed, one_seed):
    for row in changed["summary"]:
        if row["method"] not in ("original", "retrain"):
            row["verdict"] = "inconclusive"
    said = plain(content.caution(Study(changed)))
    page = (Path(__file__).parents[2] / "docs" / "metrics.md").read_text(encoding="utf-8")
    chances = {int(n): float(p) for p, n in re.findall(r"(0\.\d+)\s+for\s+(\d+)", page)}

    assert said.startswith("3 seeds can show that a method misses, hardly that it is within")
    spoken = {3: ("one time in eleven with three", 1 / 11), 8: ("three times in four with eight", 3 / 4),
              12: ("nineteen times in twenty with twelve", 19 / 20)}  # fmt: skip
    for seeds, (words, chance) in spoken.items():
        assert words in said
        assert chances[seeds] == pytest.approx(chance, abs=0.011)
    row_of(changed, "oeu")["verdict"] = "under"
    assert content.caution(Study(changed)) == []
    assert content.caution(Study(one_seed)) == []


def test_cards_show_the_verdict_beside_the_name_it_belongs_to(evaluation):
    cards = {card.title: card for card in content.cards(Study(evaluation))}

    assert plain(cards["Smallest gap"].note) == "oeu"
    assert cards["Smallest gap"].verdict == row_of(evaluation, "oeu")["verdict"]
    assert plain(cards["Cheapest"].note) == "gradient_ascent"
