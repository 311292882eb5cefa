"""Successive requests on tiny networks: what is made from what, what is compared with what, and what a page says."""

import csv
import json
import re

import numpy as np
import pytest
import torch
from small_studies import ROOT

from benchmarks.sequential import models
from benchmarks.sequential.__main__ import OUT, main, run
from benchmarks.sequential.course import ORIGINAL, REFERENCE
from benchmarks.sequential.figure import sequential_figure
from benchmarks.sequential.ground import ground
from benchmarks.sequential.kept import Kept, OtherSettingsError
from benchmarks.sequential.page import page
from benchmarks.sequential.publish import content, publish, render
from benchmarks.sequential.setting import LIMIT, NEVER, Setting, names, read
from benchmarks.sequential.summary import complete, curves, summarised
from qunlearn.config import ConfigError
from qunlearn.data.splits import GateError
from qunlearn.evaluation.gap import GAP_METRICS, average_gap
from qunlearn.reporting.figures.style import svg

TINY = {
    "title": "Tiny",
    "requests": 3,
    "share": 0.05,
    "limit": 1,
    "references": 2,
    "methods": ["neg_grad_plus"],
    "params": {
        "data": {"source": "digits", "subset": 300},
        "model": {"name": "resnet8", "width": 4},
        "training": {"epochs": 2, "batch_size": 64, "learning_rate": 0.05, "crop_padding": 0, "flip": False},
        "unlearn": {"neg_grad_plus": {"epochs": 1, "batch_size": 64, "learning_rate": 0.01}},
    },
}
SETTING = Setting.model_validate(TINY)


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def place():
    return ground(SETTING, SETTING.resolved())


@pytest.fixture(scope="module")
def keep(tmp_path_factory):
    return tmp_path_factory.mktemp("kept")


@pytest.fixture(scope="module")
def rows(place, keep):
    return run(SETTING, place, seeds=2, keep=keep)


def of(rows, arm, seed=0):
    return [row for row in rows if (row["arm"], row["seed"]) == (arm, seed)]


def test_requests_are_drawn_from_training_images_and_no_sample_is_asked_for_twice(place):
    asked = torch.cat(place.requests).tolist()
    size = round(0.05 * len(place.train))

    assert [len(one) for one in place.requests] == [size] * 3
    assert len(set(asked)) == len(asked)
    assert set(asked) <= set(place.train.tolist())
    assert place.asked(2).tolist() == sorted(asked[: 2 * size])
    assert {*place.asked(2).tolist(), *place.retained(2).tolist()} == set(place.train.tolist())
    assert not set(place.train.tolist()) & {*place.validation.tolist(), *place.test.tolist()}
    assert place.retained(0).tolist() == place.train.tolist()


def test_requests_that_would_use_up_all_images_are_refused():
    greedy = SETTING.model_copy(update={"share": 0.5})
    with pytest.raises(ValueError, match=r"3 requests of .* change share or requests"):
        ground(greedy, greedy.resolved())


def test_the_arm_with_a_limit_trains_anew_after_so_many_unlearnings_and_the_other_never(rows):
    made = {arm: [row["made_by"] for row in of(rows, arm)] for arm in (NEVER, LIMIT)}
    assert made[NEVER] == ["neg_grad_plus"] * 3
    assert made[LIMIT] == ["neg_grad_plus", "retrain", "neg_grad_plus"]
    assert [row["sequential"] for row in of(rows, NEVER)] == [1, 2, 3]
    assert [row["sequential"] for row in of(rows, LIMIT)] == [1, 0, 1]


def test_arms_share_models_until_one_is_trained_anew(rows):
    never, limit = ([row["digest"] for row in of(rows, arm)] for arm in (NEVER, LIMIT))
    assert never[0] == limit[0]
    assert never[1] != limit[1]
    assert never[2] != limit[2]


def test_each_model_is_made_from_the_one_before_and_was_trained_on_what_remains(rows, place, keep):
    for arm in (NEVER, LIMIT):
        before = Kept(keep / "seed0", settings=json.loads((keep / "seed0" / "settings.json").read_text()))
        parent = before.find(ORIGINAL)["digest"]
        for number, row in enumerate(of(rows, arm), start=1):
            assert row["key"] == f"{row['made_by']}/{parent}/{number}"
            assert set(before.load(row["key"]).trained_ids) == set(place.named(place.retained(number)))
            parent = row["digest"]


def test_a_parent_that_was_trained_on_other_samples_is_refused(rows, place, keep):
    kept = Kept(keep / "seed0", settings=json.loads((keep / "seed0" / "settings.json").read_text()))
    choice = SETTING.choice("neg_grad_plus", place.params)
    with pytest.raises(GateError):
        models.following(place, kept.load(ORIGINAL), choice, request=2, seed=0)


def test_references_see_nothing_that_was_asked_for_and_share_no_seed_with_an_arm(place, monkeypatch):
    seen = []

    def noted(model, pool, indices, config, *, seed):
        seen.append((set(indices.tolist()), seed))
        return real(model, pool, indices, config, seed=seed)

    real = models.train
    monkeypatch.setattr(models, "train", noted)
    for copy in (0, 1):
        models.reference(place, request=2, seed=0, copy=copy)
    models.reference(place, request=3, seed=0, copy=0)

    assert seen[0][0] == seen[1][0] == set(place.retained(2).tolist())
    assert not seen[0][0] & set(place.asked(2).tolist())
    assert len({seed for _, seed in seen}) == 3


def test_a_run_that_was_killed_goes_on_at_the_first_missing_model_with_the_same_figures(place, rows, keep, tmp_path):
    lines = (keep / "seed0" / "models.jsonl").read_text().splitlines(keepends=True)
    own = tmp_path / "seed0"
    own.mkdir()
    for name in ("settings.json", "models"):
        (own / name).symlink_to(keep / "seed0" / name)
    (own / "models.jsonl").write_text("".join(lines[:6]) + lines[6][:40])
    made = []
    again = run(SETTING, place, seeds=1, keep=tmp_path)
    for row in again:
        twin = next(one for one in rows if all(one[k] == row[k] for k in ("seed", "request", "arm", "method")))
        made.append(row.get("seconds") == twin.get("seconds"))
        assert {k: v for k, v in row.items() if k != "seconds"} == {k: v for k, v in twin.items() if k != "seconds"}
    assert made[:3] == [True] * 3
    assert not all(made)


def test_a_folder_of_other_settings_is_refused(place, keep, rows):
    other = SETTING.model_copy(update={"limit": 2})
    with pytest.raises(OtherSettingsError, match="begun with other settings; remove it"):
        run(other, place, seeds=1, keep=keep)


def test_gaps_are_to_the_first_reference_of_the_same_seed_and_request_and_the_floor_is_between_references(rows):
    found = complete(rows)
    one = next(row for row in found if (row["seed"], row["request"], row["arm"]) == (1, 2, NEVER))
    references = [row for row in found if (row["request"], row["arm"]) == (2, REFERENCE)]
    own = next(row for row in references if (row["seed"], row["method"]) == (1, "0"))
    assert one["average_gap"] == average_gap(one["metrics"], own["metrics"])
    assert one["cost_ratio"] == pytest.approx(one["seconds"] / own["seconds"])
    forget, retain = one["metrics"]["forget_samples"] / 2, one["metrics"]["retain_samples"]
    assert one["work_ratio"] == pytest.approx((one["forget_passes"] * forget + retain) / (2 * retain))

    entry = next(row for row in summarised(found) if (row["request"], row["arm"]) == (2, NEVER))
    pairs = [average_gap(a["metrics"], b["metrics"]) for i, a in enumerate(references) for b in references[i + 1 :]]
    assert len(references) == 4
    assert entry["noise_floor"] == pytest.approx(np.mean(pairs))
    gaps = [row["average_gap"] for row in found if (row["request"], row["arm"]) == (2, NEVER)]
    assert entry["average_gap"] == {"median": np.median(gaps), "low": min(gaps), "high": max(gaps)}
    assert entry["verdict"] == "inconclusive", "two seeds give no verdict"
    assert set(entry["verdicts"]) == set(GAP_METRICS)


def test_figures_are_of_all_samples_asked_for_and_of_this_request(rows):
    for row in of(rows, ORIGINAL):
        assert row["metrics"]["forget_samples"] == row["request"] * of(rows, ORIGINAL)[0]["metrics"]["forget_samples"]
    first = of(rows, NEVER)[0]["metrics"]
    assert first["request_accuracy"] == first["forget_accuracy"]
    assert first["request_auc"] == first["mia_auc"]
    assert 0 < of(rows, NEVER)[-1]["code_flips"] < of(rows, LIMIT)[1]["code_flips"] <= 1


def test_page_figure_and_table_are_made_from_the_numbers(place, rows, tmp_path):
    found = content(SETTING, place, rows, seeds=range(2))
    publish("tiny", found, tmp_path)
    render("tiny", SETTING, tmp_path)

    text = (tmp_path / "tiny.md").read_text()
    assert "![Gap, test accuracy and accuracy on what was forgotten, by request](tiny.svg)" in text
    assert len(re.findall(r"^\| [123] \| [0-9.]+ \|", text, re.M)) == 3
    assert re.search(r"^\| 2 \|.*\*[0-9.]+ \[[0-9.]+, [0-9.]+\]\* \|$", text, re.M), "trained anew, in italics"
    last = curves(found["summary"], arm=NEVER)[-1]
    assert f"{last['average_gap']['median']:.2f}" in text
    lines = list(csv.DictReader((tmp_path / "tiny.csv").open()))
    assert len(lines) == len(rows) == 2 * 3 * (2 + 1 + 2)
    assert float(lines[-1]["test_accuracy"]) == pytest.approx(rows[-1]["metrics"]["test_accuracy"], rel=1e-5)
    assert str(tmp_path) not in (tmp_path / "tiny.json").read_text()


def test_the_figure_shows_each_curve_and_marks_where_an_arm_was_trained_anew(place, rows):
    found = content(SETTING, place, rows, seeds=range(2))
    figure = sequential_figure(found)
    top = figure.axes[0]
    drawn = {line.get_label(): (list(line.get_xdata()), list(line.get_ydata())) for line in top.lines}
    for label, arm in (
        ("max_sequential: null", NEVER),
        ("max_sequential: 1", LIMIT),
        ("original, untouched", ORIGINAL),
    ):
        gaps = [one["average_gap"]["median"] for one in curves(found["summary"], arm=arm)]
        assert drawn[label] == ([1, 2, 3], gaps)
    assert drawn["trained anew"][0] == [2]
    assert svg(sequential_figure, found) == svg(sequential_figure, found)


def test_the_command_runs_a_study_and_goes_on_with_it(tmp_path, monkeypatch, capsys):
    small = SETTING.model_copy(update={"requests": 1, "references": 1})
    monkeypatch.setattr("benchmarks.sequential.__main__.read", lambda _: small)
    arguments = ["digits", "--seeds", "1", "--out", str(tmp_path / "out"), "--keep", str(tmp_path / "keep")]
    main(arguments)
    first = (tmp_path / "out" / "digits.json").read_text()
    assert "seed 0: request 1 of 1" in capsys.readouterr().out
    main(arguments)
    assert (tmp_path / "out" / "digits.json").read_text() == first
    (tmp_path / "out" / "digits.md").unlink()
    main([*arguments, "--render"])
    assert (tmp_path / "out" / "digits.md").is_file()


@pytest.mark.parametrize("name", names())
def test_the_settings_of_a_study_can_be_used(name):
    setting = read(name)
    params = setting.resolved()
    assert setting.requests == 10
    for method in setting.methods:
        assert setting.choice(method, params).method == method


def test_a_study_that_is_not_there_is_told_with_those_that_are():
    with pytest.raises(ConfigError, match="there are digits, fashion"):
        read("nothing")


@pytest.mark.parametrize("path", sorted((ROOT / OUT).glob("*.json")), ids=lambda path: path.stem)
def test_every_page_is_what_its_numbers_give(path):
    found, setting = json.loads(path.read_text()), read(path.stem)
    assert path.with_suffix(".md").read_text() == page(path.stem, setting, found), "run it again with --render"
    told = found["context"]["setting"]
    assert told == setting.model_dump(mode="json", include=set(told)), "the numbers are of other settings"
    assert path.with_suffix(".svg").is_file()
    summary = json.loads(json.dumps(summarised(found["rows"])))
    assert summary == found["summary"]
