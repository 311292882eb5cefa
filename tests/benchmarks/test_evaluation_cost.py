"""The benchmark runs and reports; how fast is no matter for a unit test."""

import json
import time

import pytest

from benchmarks import evaluation_cost
from qunlearn.evaluation import membership

SMALL = ["--forget", "40", "--retain", "120", "--test", "60", "--width", "4", "--rounds", "2", "--bootstrap", "10"]


def test_the_ratio_is_of_inference_and_metrics_to_inference_alone(tmp_path, capsys):
    evaluation_cost.main([*SMALL, "--json", str(tmp_path / "cost.json")])
    result = json.loads((tmp_path / "cost.json").read_text())

    assert result["device"] == "cpu"
    assert result["ratio"]["low"] <= result["ratio"]["median"] <= result["ratio"]["high"]
    assert result["ratio"]["low"] > 1.0
    assert all(seconds > 0 for seconds in result["seconds"].values())
    assert result["settings"] == {
        "width": 4, "bootstrap": 10, "rounds": 2, "limit": 1.5, "sizes": {"forget": 40, "retain": 120, "test": 60},
    }  # fmt: skip
    assert result["context"]["threads"] >= 1
    printed = capsys.readouterr().out
    assert "five SVC attacks" in printed
    assert "at most 1.5" in printed


def test_the_support_vector_fits_are_timed_apart_from_the_other_metrics(monkeypatch):
    def slow_attack(**features):
        time.sleep(0.1)
        return 0.0

    monkeypatch.setattr(membership, "svc_attack", slow_attack)
    sizes = {"forget": 20, "retain": 40, "test": 20}
    result = evaluation_cost.measure(sizes=sizes, width=4, rounds=2, bootstrap=10, device="cpu")

    assert result["seconds"]["svc"] >= 0.5 > result["seconds"]["metrics"]


def test_a_single_round_has_no_quartiles(capsys):
    with pytest.raises(SystemExit):
        evaluation_cost.main(["--rounds", "1"])
    assert "quartiles need 2 or more" in capsys.readouterr().err
