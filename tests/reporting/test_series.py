"""The tables behind the figures hold the evaluation's numbers, all of them, unrounded."""

import csv
import io
from statistics import mean

import pytest

from qunlearn.reporting.series import COLUMNS, QUANTILES, SERIES, csv_text
from qunlearn.reporting.series import conflict as conflict_rows
from qunlearn.unlearning import monitor


def summary(evaluation, method):
    return next(row for row in evaluation["summary"] if row["method"] == method)


def cells(evaluation, method):
    return [cell for cell in evaluation["cells"] if cell["method"] == method]


def only(rows, **wanted):
    (found,) = (row for row in rows if all(row[key] == value for key, value in wanted.items()))
    return found


@pytest.mark.parametrize("name", SERIES)
@pytest.mark.parametrize("which", ["evaluation", "one_seed", "many_methods", "float_network"])
def test_every_row_has_the_columns_of_its_table(name, which, request):
    rows = SERIES[name](request.getfixturevalue(which))

    assert rows
    assert {tuple(row) for row in rows} == {COLUMNS[name]}


def test_gap_is_the_summarys_with_interval_floor_and_who_chose_the_settings(evaluation):
    rows = SERIES["gap"](evaluation)
    for row in rows:
        told = summary(evaluation, row["method"])
        assert row["average_gap"] == told["mean"]["average_gap"]
        assert [row["low"], row["high"]] == told["interval"]["average_gap"]
        assert row["noise_floor"] == evaluation["context"]["noise_floor"]

    assert {row["method"] for row in rows} == {row["method"] for row in evaluation["summary"]} - {"retrain"}
    assert only(rows, method="random_label")["selected_by"] == "oracle"
    assert only(rows, method="original")["selected_by"] is None


def test_differences_and_margins_are_those_of_the_verdicts(evaluation):
    rows = SERIES["accuracy_and_membership"](evaluation)
    for metric, judged in summary(evaluation, "qmul")["verdicts"].items():
        row = only(rows, method="qmul", metric=metric)
        assert row["difference"] == judged["difference"]
        assert [row["difference_low"], row["difference_high"]] == judged["interval"]
        assert row["margin"] == judged["margin"]
        assert row["verdict"] == judged["verdict"]
        assert only(rows, method="retrain", metric=metric)["difference"] == 0.0


def test_the_two_halves_of_the_trade_off_make_the_average_gap(evaluation):
    for row in SERIES["trade_off"](evaluation):
        if row["method"] != "retrain":
            (cell,) = (c for c in cells(evaluation, row["method"]) if c["seed"] == row["seed"])
            halves = (row["forgetting_gap"] + row["utility_gap"]) / 2
            assert halves == pytest.approx(cell["metrics"]["average_gap"], rel=1e-12)


def test_a_retrained_model_is_compared_with_that_of_the_next_seed(evaluation, one_seed):
    first, second = (cell["metrics"] for cell in cells(evaluation, "retrain")[:2])
    row = only(SERIES["trade_off"](evaluation), method="retrain", seed=0)
    expected = (
        abs(first["forget_accuracy"] - second["forget_accuracy"])
        + abs(first["mia_confidence"] - second["mia_confidence"])
    ) / 2

    assert row["forgetting_gap"] == pytest.approx(expected)
    assert only(SERIES["trade_off"](one_seed), method="retrain")["forgetting_gap"] is None


@pytest.mark.parametrize("name", ["confidence", "loss"])
def test_histograms_are_means_over_seeds_that_still_sum_to_one(evaluation, name):
    rows = SERIES[name](evaluation)
    kept = [cell["stats"]["histograms"][name] for cell in cells(evaluation, "oeu")]
    forget = [row for row in rows if row["method"] == "oeu" and row["subset"] == "forget"]

    assert sum(row["share"] for row in forget) == pytest.approx(1.0)
    assert forget[3]["share"] == pytest.approx(mean(one["forget"][3] for one in kept))
    assert [row["bin_low"] for row in forget] == kept[0]["edges"][:-1]
    assert [row["bin_high"] for row in forget] == kept[0]["edges"][1:]
    assert {row["method"] for row in rows} == {row["method"] for row in evaluation["summary"]}


def test_conflicts_keep_every_point_and_every_missing_number(evaluation):
    rows = [row for row in conflict_rows(evaluation) if row["seed"] == 1]
    kept = cells(evaluation, "oeu")[1]["stats"]["conflict"]

    assert [row["cosine_before"] for row in rows] == kept["cosine_before"]
    assert [row["removed_fraction"] for row in rows] == kept["removed_fraction"]
    assert None in kept["removed_fraction"]


def test_epochs_keep_their_quantiles_and_the_phase_where_there_is_one(many_methods):
    for method, phases in (("oeu", [None] * 4), ("two_phase", [1, 1, 2, 2, 2, 2])):
        rows = [r for r in SERIES["forget_losses"](many_methods) if (r["method"], r["seed"]) == (method, 2)]
        kept = cells(many_methods, method)[2]["stats"]["forget_losses"]

        assert [row["phase"] for row in rows] == phases
        for name in ("epoch", "correct", *QUANTILES):
            assert [row[name] for row in rows] == kept[name]


def test_the_names_of_the_quantiles_are_those_of_the_monitor():
    assert tuple(f"p{percent:02d}" for percent in monitor.QUANTILES) == QUANTILES


def test_layers_are_means_over_seeds_with_nothing_where_nothing_was_recorded(evaluation, float_network):
    rows = SERIES["layers"](evaluation)
    row = only(rows, method="oeu", layer="conv1")
    stats = [cell["stats"] for cell in cells(evaluation, "oeu")]

    assert row["code_flips"] == pytest.approx(mean(s["code_flips_by_layer"]["conv1"] for s in stats))
    assert row["cosine"] == pytest.approx(mean(s["conflict_by_layer"]["conv1"] for s in stats))
    assert only(rows, method="fine_tune", layer="conv1")["cosine"] is None
    assert "original" not in {row["method"] for row in rows}
    assert {row["code_flips"] for row in SERIES["layers"](float_network)} == {None}


def test_cost_of_retraining_is_one_and_its_gap_the_noise_floor(evaluation):
    rows = SERIES["cost"](evaluation)
    again = only(rows, method="retrain")

    assert again["cost_ratio"] == pytest.approx(1.0)
    assert again["average_gap"] == evaluation["context"]["noise_floor"]
    assert only(rows, method="oeu")["cost_ratio"] == summary(evaluation, "oeu")["mean"]["cost_ratio"]
    assert only(rows, method="oeu")["peak_memory_mb"] == pytest.approx(
        mean(cell["stats"]["peak_memory_mb"] for cell in cells(evaluation, "oeu"))
    )


@pytest.mark.parametrize("name", SERIES)
def test_csv_gives_back_the_exact_numbers(evaluation, name):
    rows = SERIES[name](evaluation)
    read = list(csv.DictReader(io.StringIO(csv_text(name, evaluation))))

    assert len(read) == len(rows)
    for row, texts in zip(rows, read, strict=True):
        for key, value in row.items():
            if value is None:
                assert texts[key] == ""
            else:
                assert type(value)(texts[key]) == value


def test_a_table_without_rows_keeps_its_heading(evaluation):
    without = {**evaluation, "cells": [c for c in evaluation["cells"] if "conflict" not in c["stats"]]}

    assert csv_text("conflict", without) == "method,seed,step,cosine_before,removed_fraction,steps_per_point\n"
