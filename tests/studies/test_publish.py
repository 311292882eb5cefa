"""A finished study's page, numbers and figures."""

from __future__ import annotations

import json
import re
from xml.etree import ElementTree

import pytest
import yaml
from small_studies import ARMS, PLAIN, ROOT, evaluation_with, write_evaluation

from qunlearn.config import ConfigError
from qunlearn.reporting.source import DASH, MINUS, TIMES
from studies.figures import pictures
from studies.kept import keep
from studies.overlay import ONLY_ARM, Study, overlaid
from studies.page import page
from studies.publish import publish, published, render
from studies.sizes import sizes

BASE = yaml.safe_load((ROOT / "params.yaml").read_text())


def evaluations(study):
    return {arm: evaluation_with(overlaid(BASE, study, arm)) for arm in study.arm_names}


def page_of(study, found=None):
    found = found or evaluations(study)
    return page("x", study, found, pictures("x", study, found))


def with_(study, **changes):
    return Study(**{**study.model_dump(), **changes})


def rows_below(text, heading):
    """Cells of the table under a heading, without its head."""
    lines = text.split(f"{heading}\n", 1)[1].lstrip("\n").split("\n\n", 1)[0].splitlines()
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]


def test_results_of_other_parameters_are_not_published(root):
    write_evaluation(root, {**BASE, "seeds": [5, 6]})
    with pytest.raises(ConfigError, match="other parameters than study x: seeds differ"):
        publish("x", PLAIN, root=root)
    assert not (root / "docs").exists()


def test_an_arm_that_has_not_run_is_told(root):
    keep(evaluations(ARMS)["pact"], name="x", arm="pact", key="k", root=root)
    with pytest.raises(ConfigError, match="arm float has not run; run `make study NAME=x`"):
        publish("x", ARMS, root=root)
    assert not (root / "docs").exists()


def test_a_study_without_arms_publishes_the_evaluation_as_it_is(root):
    write_evaluation(root, overlaid(BASE, PLAIN))
    publish("x", PLAIN, root=root)
    made = json.loads((root / "docs" / "results" / "x.json").read_text())
    assert made == json.loads((root / "metrics" / "evaluation.json").read_text())


def test_page_and_figures_can_be_made_again_from_the_numbers(root):
    found = evaluations(ARMS)
    for arm, evaluation in found.items():
        keep(evaluation, name="x", arm=arm, key="k", root=root)
    made = {path: path.read_bytes() for path in publish("x", ARMS, root=root)}
    assert published("x", ARMS, root=root) == found
    for path in render("x", ARMS, root=root):
        assert path.read_bytes() == made[path]


def test_numbers_of_other_arms_than_the_study_has_are_told(root):
    for arm, evaluation in evaluations(ARMS).items():
        keep(evaluation, name="x", arm=arm, key="k", root=root)
    publish("x", ARMS, root=root)
    with pytest.raises(ConfigError, match="has the arms pact, float, the study pact"):
        render("x", with_(ARMS, arms={"pact": ARMS.arms["pact"]}), root=root)
    with pytest.raises(ConfigError, match="no results yet"):
        render("y", ARMS, root=root)


def test_a_setting_that_is_newer_than_the_numbers_counts_only_where_the_study_names_it(root):
    evaluation = evaluations(PLAIN)[ONLY_ARM]
    del evaluation["context"]["params"]["quantization"]["per_channel"]
    (root / "metrics").mkdir()
    (root / "metrics" / "evaluation.json").write_text(json.dumps(evaluation))
    silent = with_(PLAIN, params={"quantization": {"quantizer": "lsq"}})
    assert publish("x", silent, root=root)
    with pytest.raises(ConfigError, match="quantization differ"):
        publish("x", with_(PLAIN, params={"quantization": {"quantizer": "lsq", "per_channel": False}}), root=root)
    with pytest.raises(ConfigError, match="quantization differ"):
        publish("x", with_(PLAIN, params={"quantization": {"quantizer": "lsq", "weight_bits": 5}}), root=root)


def test_the_page_has_a_row_for_every_arm_and_model_with_gap_interval_ratio_and_verdict():
    found = evaluations(ARMS)
    rows = rows_below(page_of(ARMS, found), "## All arms")
    assert [(row[0], row[1]) for row in rows] == [
        (f"`{arm}`", f"`{method}`") for arm in ARMS.arms for method in ("original", "retrain", "qmul", "oeu")
    ]
    summary = next(row for row in found["float"]["summary"] if row["method"] == "oeu")
    cells = next(row for row in rows if row[:2] == ["`float`", "`oeu`"])
    numbers = [float(cell.strip("*").replace(TIMES, "").replace(MINUS, "-").split()[0]) for cell in cells[2:8]]
    names = ("forget_accuracy", "retain_accuracy", "test_accuracy", "mia_confidence", "average_gap")
    assert numbers[:5] == pytest.approx([summary["mean"][name] for name in names], abs=0.005)
    assert numbers[5] == pytest.approx(summary["gap_ratio"], abs=0.05)
    low, high = (float(end.replace(MINUS, "-")) for end in re.search(r"\[(.*), (.*)\]", cells[6]).groups())
    assert [low, high] == pytest.approx(summary["interval"]["average_gap"], abs=0.005)
    assert cells[8].endswith(summary["verdict"])


def test_the_page_tells_the_study_each_arm_and_how_to_run_it_again():
    text = page_of(ARMS)
    assert text.startswith("# Two quantizers\n\nDoes the quantizer matter?\n\n**It does.**\n\nThree seeds.\n")
    assert text.index("## All arms") < text.index("![") < text.index("## Arm `pact`") < text.index("## Arm `float`")
    assert text.count("| `qmul` |") >= 4
    blocks = [yaml.safe_load(block) for block in re.findall(r"```yaml\n(.*?)```", text, re.S)]
    assert blocks == [ARMS.params, {"arms": ARMS.arms}]
    assert "`make study NAME=x`" in text


def test_further_columns_are_in_the_table_of_all_arms_with_their_meaning():
    study = with_(ARMS, columns=["code_flips", "conflict_rate"])
    found = evaluations(study)
    for cell in found["pact"]["cells"]:
        if cell["method"] == "oeu":
            cell["stats"]["conflict_rate"] = [0.25, 0.5, 0.75][cell["seed"]]
    text = page_of(study, found)
    rows = {(row[0], row[1]): row for row in rows_below(text, "## All arms")}
    assert rows["`pact`", "`oeu`"][-1] == "50.0 %"
    assert rows["`pact`", "`qmul`"][-1] == DASH
    assert "%" in rows["`pact`", "`oeu`"][-2]
    assert rows["`float`", "`oeu`"][-2] == DASH
    assert "conflict: Share of the steps" in text


def test_further_columns_of_a_study_without_arms_have_a_table_of_their_own():
    text = page_of(with_(PLAIN, columns=["forget_entropy"]))
    rows = rows_below(text, "## Further figures")
    assert [row[0] for row in rows] == ["`original`", "`retrain`", "`qmul`", "`oeu`"]
    assert all("%" in row[1] for row in rows)


def test_of_a_block_of_settings_only_what_was_varied_is_told():
    found = evaluations(PLAIN)
    rates = (0.1, 0.2)
    found[ONLY_ARM]["context"]["methods"]["oeu"] |= {"selected_by": "validation"}
    found[ONLY_ARM]["context"]["methods"]["oeu"]["trials"] = [
        {"settings": {"epochs": 1, "phase": {"gamma": 1.0, "rate": rate}}, "score": rate, "chosen": rate == 0.1}
        for rate in rates
    ]
    rows = [row for row in rows_below(page_of(PLAIN, found), "## Choices") if row[0] == "`oeu`"]
    assert [row[1:] for row in rows] == [
        ["epochs 1, phase.rate 0.1", "0.10", "chosen"],
        ["epochs 1, phase.rate 0.2", "0.20", ""],
    ]


def test_published_figures_stand_beside_ours_with_the_gap_to_their_own_retraining():
    reference = {"source": "A paper.", "rows": {"retrain": [5.0, 100.0, 94.0, 13.0], "oeu": [3.0, 99.0, 92.0, 17.0]}}
    text = page_of(with_(PLAIN, reference=reference))
    rows = {row[0]: row for row in rows_below(text, "## Beside published figures")}
    assert [cell.split(" / ")[1] for cell in rows["`oeu`"][1:]] == ["97.00", "99.00", "92.00", "17.00", "2.25"]
    assert [cell.split(" / ")[1] for cell in rows["`retrain`"][1:]] == ["95.00", "100.00", "94.00", "13.00", DASH]
    assert {cell.split(" / ")[1] for cell in rows["`qmul`"][1:]} == {DASH}
    assert "A paper." in text


def test_sizes_tell_images_epochs_seeds_hardware_and_whose_minutes_they_are():
    found = evaluations(ARMS)
    text = sizes(found)
    assert "129 forget, 1,164 retained, 144 validation and 360 test images of 1 x 8 x 8" in text
    assert "15 epochs of training, 10 of unlearning; seeds 0, 1, 2" in text
    assert "AMD EPYC 7B13, 2 threads" in text
    seconds = sum(cell["stats"]["seconds"] for one in found.values() for cell in one["cells"])
    assert f"took {seconds / 60:.1f} minutes" in text or f"took {seconds / 60:.0f} minutes" in text
    assert "sum of all cells' own wall times" in text


def test_a_cell_that_two_arms_share_is_timed_once():
    found = evaluations(ARMS)
    for cell in found["float"]["cells"]:
        cell["run_id"] = cell["run_id"].replace("none", "pact")
    alone = sum(cell["stats"]["seconds"] for cell in found["float"]["cells"])
    assert f"took {alone / 60:.1f} minutes" in sizes(found)


def test_arms_of_different_sizes_are_told_apart():
    found = evaluations(ARMS)
    found["float"]["context"]["data"]["counts"] = {"train/forget": 10, "train/retain": 90, "test": 20}
    text = sizes(found)
    assert "pact: 129 forget" in text
    assert "float: 10 forget, 90 retained and 20 test images" in text


@pytest.mark.parametrize("study", [PLAIN, ARMS])
def test_the_same_evaluations_give_the_same_figure_without_dates(study):
    found = evaluations(study)
    first, second = pictures("x", study, found), pictures("x", study, found)
    assert first == second
    assert list(first) == ["x-gap.svg"]
    text = first["x-gap.svg"].svg
    assert not re.search(r"20\d\d-\d\d-\d\d|atplotlib v", text)
    assert len(text) < 60_000


def test_the_figure_has_a_panel_an_arm_with_every_row_and_its_gap():
    found = evaluations(ARMS)
    drawing = ElementTree.fromstring(pictures("x", ARMS, found)["x-gap.svg"].svg)
    texts = ["".join(one.itertext()).strip() for one in drawing.iter("{http://www.w3.org/2000/svg}text")]
    for arm, evaluation in found.items():
        assert arm in texts
        for row in evaluation["summary"]:
            if row["method"] != "retrain":
                assert f"{row['mean']['average_gap']:.2f}" in texts
    assert texts.count("oeu") == 1  # both panels share their rows
    assert any("noise floor" in text for text in texts)


def test_one_seed_has_a_figure_without_intervals_and_floor():
    from reporting.conftest import make_evaluation

    found = {arm: make_evaluation(seeds=(1,)) for arm in ARMS.arms}
    text = pictures("x", ARMS, found)["x-gap.svg"].svg
    assert "neither intervals nor a noise floor" in text


def test_other_figures_are_drawn_for_each_arm_and_left_out_where_they_show_nothing():
    study = with_(ARMS, figures=["gap", "trade_off", "conflict"])
    found = evaluations(study)
    for cell in found["float"]["cells"]:
        cell["stats"].pop("conflict", None)
    drawn = pictures("x", study, found)
    assert list(drawn) == ["x-gap.svg", "x-pact-trade_off.svg", "x-float-trade_off.svg", "x-pact-conflict.svg"]
    text = page_of(study, found)
    assert all(f"]({file})" in text for file in drawn)
    assert text.index("## Arm `float`") < text.index("x-float-trade_off.svg")


def test_forget_losses_are_drawn_for_the_arms_that_have_them():
    study = with_(ARMS, figures=["forget_losses"])
    found = evaluations(study)
    for cell in found["float"]["cells"]:
        cell["stats"].pop("forget_losses", None)
    drawn = pictures("x", study, found)
    assert list(drawn) == ["x-pact-forget_losses.svg"]
    assert "](x-pact-forget_losses.svg)" in page_of(study, found)


def test_an_oracle_is_marked_in_the_table_of_all_arms():
    found = evaluations(ARMS)
    for evaluation in found.values():
        evaluation["context"]["methods"]["oeu"]["selected_by"] = "oracle"
        evaluation["summary"][-1]["selected_by"] = "oracle"
    rows = rows_below(page_of(ARMS, found), "## All arms")
    assert sum(row[1] == "`oeu` **ORACLE**" for row in rows) == len(ARMS.arms)
