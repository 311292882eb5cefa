"""The benchmark runs and reports; how fast is no matter for a unit test."""

import json

import pytest

from benchmarks import kept_memory

SMALL = ["--nets", "resnet8", "--batch", "2", "--rounds", "1", "--steps", "1"]


def test_both_kinds_are_measured_in_processes_of_their_own(capsys):
    kept_memory.main([*SMALL, "--json"])
    content = json.loads(capsys.readouterr().out)
    (result,) = content["results"]
    assert (result["net"], result["batch"]) == ("resnet8", 2)
    for kind in ("kept", "as it comes"):
        assert result[kind]["seconds"] > 0.0
        assert result[kind]["megabytes"] > 100.0
    ratio = result["ratio"]["median"]
    assert ratio == pytest.approx(result["kept"]["seconds"] / result["as it comes"]["seconds"])
    assert content["settings"] == {"rounds": 1, "steps": 1}


def test_the_figures_are_medians_over_processes_and_the_ratio_is_one_within_a_round(monkeypatch, capsys):
    seconds = {True: iter([1.0, 3.0, 2.0]), False: iter([2.0, 4.0, 8.0])}

    def found(net, *, batch, steps, kept):
        return {"seconds": next(seconds[kept]), "faults": 7.0, "megabytes": 9.0}

    monkeypatch.setattr(kept_memory, "_in_a_process", found)
    kept_memory.main(["--nets", "resnet18", "--rounds", "3"])
    printed = capsys.readouterr().out
    assert "resnet18, batches of 64" in printed
    assert "kept           2.000 s" in printed
    assert "as it comes    4.000 s" in printed
    assert "0.50 (0.25-0.75)" in printed


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [("--rounds", "0", "1 or more"), ("--steps", "0", "1 or more"), ("--batch", "1", "BatchNorm needs 2 images")],
)
def test_sizes_that_measure_nothing_are_refused(option, value, message, capsys):
    with pytest.raises(SystemExit) as ended:
        kept_memory.main([option, value])
    assert ended.value.code == 2
    assert message in capsys.readouterr().err
