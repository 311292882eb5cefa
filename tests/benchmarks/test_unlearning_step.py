"""The benchmark runs and reports; how fast is no matter for a unit test."""

import json

import pytest

from benchmarks import unlearning_step
from benchmarks.unlearning_step import COMPARISONS, Net, StepByStep, make_problem, methods
from qunlearn.unlearning import run
from qunlearn.unlearning.grid import choices

SMALL = ["--batch-resnet18", "--batch-resnet8", "4", "--width", "4", "--rounds", "2"]


def test_json_has_every_comparison_with_its_spread_and_its_limit(capsys):
    unlearning_step.main([*SMALL, "--json"])
    content = json.loads(capsys.readouterr().out)
    (result,) = content["results"]
    assert (result["net"], result["batch"], result["device"]) == ("resnet8", 4, "cpu")
    assert [(row["step"], row["beside"]) for row in result["rows"]] == [(c.step, c.beside) for c in COMPARISONS]
    for row in result["rows"]:
        assert 0.0 < row["ratio"]["low"] <= row["ratio"]["median"] <= row["ratio"]["high"]
        assert row["seconds"] > 0.0
    assert {row["step"]: row["limit"] for row in result["rows"]}["neg_grad_plus under optimal"] == 1.25
    assert content["context"]["threads"] >= 1
    assert content["settings"] == {"rounds": 2}


def test_the_table_names_every_step_and_what_it_stands_beside(capsys):
    unlearning_step.main(SMALL)
    printed = capsys.readouterr().out
    for row in COMPARISONS:
        assert row.step in printed
        assert f"x {row.beside}" in printed
    assert "at most 1.10" in printed


def test_each_size_of_batch_is_measured(monkeypatch, capsys):
    monkeypatch.setattr(unlearning_step, "measure", lambda net, **_: [net.name, net.batch])
    unlearning_step.main(["--batch-resnet18", "8", "16", "--json"])
    assert json.loads(capsys.readouterr().out)["results"] == [["resnet18", 8], ["resnet18", 16], ["resnet8", 128]]
    with pytest.raises(SystemExit):
        unlearning_step.main(["--batch-resnet8", "0"])
    assert "one image or more" in capsys.readouterr().err


def test_a_single_round_has_no_quartiles(capsys):
    with pytest.raises(SystemExit):
        unlearning_step.main(["--rounds", "1"])
    assert "quartiles need 2 or more" in capsys.readouterr().err


def test_work_stops_after_each_step_until_it_is_called_again():
    done = []

    def work(pause):
        for number in range(5):
            done.append(number)
            pause()

    with StepByStep(work) as step:
        assert done == []
        step()
        assert done == [0]
        step()
        assert done == [0, 1]
    assert done == [0, 1]


@pytest.mark.parametrize(("steps", "message"), [(1, "broken"), (0, "the work ended before it was asked to")])
def test_what_goes_wrong_is_told_to_the_caller(steps, message):
    def work(pause):
        for _ in range(steps):
            pause()
        if steps:
            raise ValueError("broken")

    with StepByStep(work) as step:
        for _ in range(steps):
            step()
        with pytest.raises((ValueError, RuntimeError), match=message):
            step()


def test_a_step_is_one_batch_of_each_set():
    """Otherwise the passes beside it would be fewer or more than its own."""
    net = Net("resnet8", 4, 6)
    model, problem = make_problem(net, steps=1, device="cpu")
    for method, settings in methods(net.batch).values():
        phases = {"phase2": {**settings["phase2"], "epochs": 1}} if "phase2" in settings else {"epochs": 1}
        (choice,) = choices({method: {**settings, **phases}}).values()
        result = run(method, model, problem, choice.base, seed=0)
        steps, sizes = len(result.steps["step"]), {"forget": len(problem.forget), "retain": len(problem.retain)}
        images = {part: result.passes[part] * size / steps for part, size in sizes.items()}
        assert images == {"forget": 6.0, "retain": 12.0 if method == "two_phase" else 6.0}
