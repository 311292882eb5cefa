"""The further figures and the glossary."""

import copy

from qunlearn.evaluation.catalogue import CATALOGUE
from qunlearn.reporting.details import detail_tables, glossary
from qunlearn.reporting.source import DASH, plain
from qunlearn.reporting.study import Study


def entry(evaluation, method, metric):
    for table in detail_tables(Study(evaluation)):
        names = [m.name for m in table.metrics]
        if metric in names:
            row = next(cells for model, cells in table.rows if model.name == method)
            return tuple(plain(part) for part in row[names.index(metric)])
    raise AssertionError(f"{metric} is in no table")


def shown(evaluation):
    return [metric.name for table in detail_tables(Study(evaluation)) for metric in table.metrics]


def test_each_metric_of_the_evaluation_stands_in_one_table(many_methods):
    names = shown(many_methods)
    present = {name for row in many_methods["summary"] for name in row["mean"]} & CATALOGUE.keys()
    main = {"forget_accuracy", "retain_accuracy", "test_accuracy", "average_gap", "cost_ratio", "code_flips"}

    assert len(names) == len(set(names))
    assert set(names) == {n for n in present if CATALOGUE[n].unit != "count"} - main


def test_metrics_that_no_model_has_get_no_column(evaluation, many_methods):
    assert {"lira_auc", "relearn_steps"} <= set(shown(many_methods))
    assert {"lira_auc", "relearn_steps", "adjacent_accuracy"}.isdisjoint(shown(evaluation))


def test_attacks_show_their_bootstrap_interval_others_their_deviation(evaluation):
    row = next(row for row in evaluation["summary"] if row["method"] == "oeu")
    mean, low, high = (row["mean"][f"mia_auc{suffix}"] for suffix in ("", "_low", "_high"))

    assert entry(evaluation, "oeu", "mia_auc") == (f"{mean:.3f}", f"[{low:.3f}, {high:.3f}]")
    assert entry(evaluation, "oeu", "mia_entropy")[1] == f"± {row['std']['mia_entropy']:.2f}"


def test_relearning_that_reached_its_limit_is_a_lower_bound(many_methods):
    changed = copy.deepcopy(many_methods)
    next(c for c in changed["cells"] if c["method"] == "oeu")["stats"]["relearn_reached"] = False

    assert entry(changed, "oeu", "relearn_steps")[0].startswith("≥ ")
    assert not entry(changed, "qmul", "relearn_steps")[0].startswith("≥ ")


def test_what_a_model_lacks_is_a_dash(one_seed, evaluation):
    assert entry(evaluation, "original", "work_ratio") == (DASH, "")
    assert entry(one_seed, "retrain", "w2_loss") == (DASH, "")


def test_the_glossary_explains_every_metric_that_is_shown(many_methods):
    explained = [metric.name for metric in glossary(Study(many_methods))]

    assert set(shown(many_methods)) <= set(explained)
    assert len(explained) == len(set(explained))


def test_all_deviations_of_a_column_take_the_same_space(many_methods, one_seed):
    for table in detail_tables(Study(many_methods)):
        for place, width in enumerate(table.widths):
            digits = [sum(map(str.isdigit, plain(cells[place][1]))) for _, cells in table.rows]
            assert max(digits) <= width
    unmarked = [w for t in detail_tables(Study(one_seed)) for m, w in zip(t.metrics, t.widths, strict=True)
                if m.unit == "percent"]  # fmt: skip
    assert set(unmarked) == {0}
