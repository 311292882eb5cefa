"""Assembling cells into the evaluation."""

import json

import pytest

from qunlearn.evaluation import assemble

SIZES = {"forget_samples": 1000.0, "retain_samples": 9000.0, "test_samples": 2000.0}
REFERENCE = {0: (94.0, 100.0, 93.0, 13.0), 1: (95.0, 100.0, 93.2, 12.0), 2: (94.5, 100.0, 93.1, 12.5)}


def cell(method, seed, values, **stats):
    forget, retain, test, mia = values
    metrics = {"forget_accuracy": forget, "retain_accuracy": retain, "test_accuracy": test, "mia_confidence": mia}
    stats = {"seconds": 100.0, **stats}
    return {
        "method": method, "seed": seed, "scenario": "random", "metrics": metrics | SIZES, "stats": stats,
        "run_id": f"{method}-{seed}",
    }  # fmt: skip


def experiment():
    shifted = {seed: (f + 4, r, t, m - 8) for seed, (f, r, t, m) in REFERENCE.items()}
    return [
        *(cell("oeu", seed, values, seconds=20.0) for seed, values in REFERENCE.items()),
        *(cell("fine_tune", seed, values, seconds=10.0, concurrent=True) for seed, values in shifted.items()),
        *(cell("retrain", seed, values) for seed, values in REFERENCE.items()),
        *(cell("original", seed, (100.0, 100.0, 93.5, 0.5)) for seed in REFERENCE),
    ]


def rows(evaluation):
    return {row["method"]: row for row in evaluation["summary"]}


def test_rows_start_with_original_and_retrain_and_keep_the_methods_order():
    assert list(rows(assemble(experiment(), {}))) == ["original", "retrain", "oeu", "fine_tune"]


def test_every_cell_is_compared_with_the_retrained_model_of_its_seed():
    evaluation = assemble(experiment(), {})
    gaps = {(c["method"], c["seed"]): c["metrics"].get("average_gap") for c in evaluation["cells"]}

    assert gaps["oeu", 1] == 0.0  # equal to its own retrained model, not to the mean of them
    assert gaps["fine_tune", 2] == pytest.approx(3.0)
    assert gaps["retrain", 0] is None


def test_noise_floor_and_gap_ratio_come_from_the_retrained_models():
    evaluation = assemble(experiment(), {"seeds": [0, 1, 2]})
    # Pairs: (1 + 0 + .2 + 1) / 4, (.5 + 0 + .1 + .5) / 4 twice.
    floor = (0.55 + 0.275 + 0.275) / 3

    assert evaluation["context"] == {"seeds": [0, 1, 2], "noise_floor": pytest.approx(floor)}
    assert rows(evaluation)["fine_tune"]["gap_ratio"] == pytest.approx(3.0 / floor)
    assert rows(evaluation)["oeu"]["gap_ratio"] == 0.0


def test_rows_hold_mean_deviation_interval_verdict_and_cost():
    row = rows(assemble(experiment(), {}))["fine_tune"]

    assert row["seeds"] == [0, 1, 2]
    assert row["mean"]["forget_accuracy"] == pytest.approx(98.5)
    assert row["std"]["forget_accuracy"] == pytest.approx(0.5)
    assert row["interval"]["forget_accuracy"] == pytest.approx([98.5 - 1.2420689, 98.5 + 1.2420689], abs=1e-6)
    assert row["verdict"] == "under"
    assert row["verdicts"]["retain_accuracy"]["verdict"] == "within"
    assert row["mean"]["cost_ratio"] == pytest.approx(0.1)
    assert row["concurrent"] is True


def test_reference_and_original_have_rows_like_the_others():
    summary = rows(assemble(experiment(), {}))

    assert summary["retrain"]["verdict"] == "reference"
    assert summary["retrain"]["mean"]["cost_ratio"] == 1.0
    assert summary["original"]["verdict"] == "under"
    assert "cost_ratio" not in summary["original"]["mean"]


def test_rows_say_how_settings_were_chosen_and_what_a_method_saw():
    oeu = {"title": "OEU", "selected_by": "validation", "data_access": ["retain", "validation"]}
    context = {"methods": {"oeu": oeu, "fine_tune": {"title": "of an earlier version"}}}
    summary = rows(assemble(experiment(), context))

    assert (summary["oeu"]["selected_by"], summary["oeu"]["data_access"]) == ("validation", ["retain", "validation"])
    assert (summary["original"]["selected_by"], summary["original"]["data_access"]) == (None, ["forget", "retain"])
    assert (summary["retrain"]["selected_by"], summary["retrain"]["data_access"]) == (None, ["retain"])
    assert not {"selected_by", "data_access"} & summary["fine_tune"].keys()


def test_method_without_an_entry_is_refused_where_methods_have_entries():
    with pytest.raises(ValueError, match=r"method fine_tune: .* only of oeu; run `dvc repro unlearn`"):
        assemble(experiment(), {"methods": {"oeu": {"selected_by": "oracle"}}})
    assert "selected_by" not in rows(assemble(experiment(), {}))["fine_tune"]


def test_memory_is_compared_with_retraining_of_the_same_seed():
    cells = [cell("oeu", 0, REFERENCE[0], peak_memory_mb=50.0), cell("retrain", 0, REFERENCE[0], peak_memory_mb=200.0)]

    summary = rows(assemble([*cells, cell("original", 0, REFERENCE[0], peak_memory_mb=300.0)], {}))

    assert summary["oeu"]["mean"]["memory_ratio"] == 0.25
    assert summary["retrain"]["mean"]["memory_ratio"] == 1.0
    assert "memory_ratio" not in summary["original"]["mean"]


def test_a_figure_that_some_seeds_lack_has_no_mean():
    cells = experiment()
    cells[0]["metrics"]["lira_auc"] = 0.7

    assert "lira_auc" not in rows(assemble(cells, {}))["oeu"]["mean"]


@pytest.mark.parametrize(
    ("shift", "verdict"),
    [
        ((0.0, 0.0, 0.0, 0.0), "within"),
        ((5.0, 0.0, 0.0, 0.0), "under"),
        ((0.0, 0.0, 0.0, -12.0), "under"),
        ((-80.0, 0.0, 0.0, 0.0), "over"),
        ((0.0, 0.0, 0.0, 60.0), "over"),
        ((0.0, -3.0, 0.0, 0.0), "damaged"),
        ((0.0, 0.0, -3.0, 0.0), "damaged"),
        ((0.0, 0.0, 3.0, 0.0), "inconclusive"),
        ((5.0, -3.0, 0.0, 60.0), "under"),
    ],
)
def test_every_verdict_is_reached_from_cells_in_each_direction(shift, verdict):
    moved = {seed: tuple(a + b for a, b in zip(values, shift, strict=True)) for seed, values in REFERENCE.items()}
    cells = [cell("retrain", seed, values) for seed, values in REFERENCE.items()]

    assert rows(assemble([*cells, *(cell("m", seed, v) for seed, v in moved.items())], {}))["m"]["verdict"] == verdict


def test_one_seed_leaves_out_what_needs_more_and_is_valid_json():
    evaluation = assemble([c for c in experiment() if c["seed"] == 0], {})
    row = rows(evaluation)["oeu"]

    assert evaluation["context"]["noise_floor"] is None
    assert row["gap_ratio"] is None
    assert row["std"]["forget_accuracy"] is None
    assert row["interval"]["forget_accuracy"] is None
    assert row["verdict"] == "inconclusive"
    assert json.loads(json.dumps(evaluation, allow_nan=False)) == evaluation


def test_input_cells_are_not_changed():
    cells = experiment()
    assemble(cells, {})

    assert cells == experiment()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda _: [], "no cells"),
        (lambda cells: [*cells, cells[0]], r"oeu \(seed 0\) appears twice"),
        (lambda cells: [c for c in cells if c["method"] != "retrain"], r"seeds \[0, 1, 2\] have no retrain cell"),
        (lambda cells: [*cells[1:], {**cells[0], "scenario": "class"}], "several scenarios"),
        (lambda cells: [{k: v for k, v in cells[0].items() if k != "stats"}, *cells[1:]], "lacks stats"),
        (lambda cells: [{**cells[0], "metrics": {}}, *cells[1:]], "lacks the metrics forget_accuracy"),
        (
            lambda cells: [{**cells[0], "metrics": cells[0]["metrics"] | {"mia_auc": float("nan")}}, *cells[1:]],
            "mia_auc not finite",
        ),
    ],
)
def test_cells_that_cannot_be_compared_are_refused(change, message):
    with pytest.raises(ValueError, match=message):
        assemble(change(experiment()), {})
