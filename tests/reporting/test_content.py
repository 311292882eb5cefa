"""What the tables say."""

import copy

import pytest

from qunlearn.reporting import content


def cells(evaluation, method):
    line = next(line for line in content.lines(evaluation) if line.method == method)
    return {cell.column.key: cell for cell in line.cells}


def test_best_is_the_method_closest_to_retrain_never_a_reference(evaluation):
    best = {key: [] for key in ("forget_accuracy", "average_gap", "cost_ratio", "verdict", "code_flips")}
    for line in content.lines(evaluation):
        for cell in line.cells:
            if cell.best and cell.column.key in best:
                best[cell.column.key].append(line.method)

    assert best == {
        "forget_accuracy": ["oeu"],  # not the highest accuracy: the one most like retrain's
        "average_gap": ["oeu"],
        "cost_ratio": ["gradient_ascent"],
        "verdict": [],
        "code_flips": [],
    }


def test_cells_show_mean_with_deviation_and_gap_with_interval(evaluation):
    row = next(row for row in evaluation["summary"] if row["method"] == "qmul")
    mean, std, (low, high) = row["mean"], row["std"], row["interval"]["average_gap"]
    shown = cells(evaluation, "qmul")

    assert shown["forget_accuracy"].text == f"{mean['forget_accuracy']:.2f} ± {std['forget_accuracy']:.2f}"
    assert shown["average_gap"].text == f"{mean['average_gap']:.2f} [{max(low, 0):.2f}, {high:.2f}]"
    assert shown["code_flips"].text == f"{100 * mean['code_flips']:.1f} %"


def test_what_does_not_exist_is_a_dash(evaluation, one_seed):
    assert cells(evaluation, "retrain")["average_gap"].text == content.DASH
    assert cells(evaluation, "original")["cost_ratio"].text == content.DASH
    assert cells(one_seed, "oeu")["gap_ratio"].text == content.DASH
    assert "±" not in cells(one_seed, "oeu")["forget_accuracy"].text


def test_times_that_were_not_taken_alone_are_marked(evaluation):
    changed = copy.deepcopy(evaluation)
    next(row for row in changed["summary"] if row["method"] == "oeu")["concurrent"] = True

    assert cells(changed, "oeu")["cost_ratio"].text.endswith(" *")
    assert not cells(changed, "qmul")["cost_ratio"].text.endswith("*")


def test_finding_names_the_methods_within_and_the_closest(evaluation):
    changed = copy.deepcopy(evaluation)
    for row in changed["summary"]:
        if row["method"] not in ("original", "retrain"):
            row["verdict"] = "within" if row["method"] in ("qmul", "oeu") else "under"

    assert content.finding(changed).startswith("qmul and oeu cannot be told from retraining")
    assert "oeu comes closest" in content.finding(changed)


def test_finding_never_claims_success_where_there_is_none(evaluation, one_seed):
    assert not [row for row in content.methods(evaluation) if row["verdict"] == "within"]
    assert content.finding(evaluation).startswith("No method is within")
    assert content.finding(one_seed).startswith("Fewer than 3 seeds were run, so no verdict is given")


def test_flips_by_layer_are_means_over_seeds_without_the_original(evaluation):
    names, rows = content.flips_by_layer(evaluation)
    of_seed = [
        cell["stats"]["code_flips_by_layer"]["conv1"] for cell in evaluation["cells"] if cell["method"] == names[1]
    ]

    assert "original" not in names
    assert dict(rows)["conv1"][1] == pytest.approx(sum(of_seed) / 3)
    assert len(rows) == len(evaluation["context"]["audit"])


def test_a_metric_that_no_model_has_gets_no_column(evaluation):
    changed = copy.deepcopy(evaluation)
    for row in changed["summary"]:
        del row["mean"]["scale_drift"]

    headings, body = content.details(changed)

    assert "Scale drift" not in [short for short, _ in headings]
    assert all(len(texts) == len(headings) for _, texts in body)
