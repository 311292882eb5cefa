"""The benchmark runs and reports every variant; how fast is no matter for a unit test."""

import json

import pytest

from benchmarks import qat_step

SMALL = ["--channels", "4", "--batch", "8", "--rounds", "2"]


def test_json_has_every_variant_with_ratios_and_spread(capsys):
    qat_step.main([*SMALL, "--json"])
    content = json.loads(capsys.readouterr().out)
    variants = content["results"][0]["variants"]
    assert set(variants) == set(qat_step.VARIANTS)
    assert variants["float"]["of_float"]["median"] == pytest.approx(1.0)
    row = variants["lsq"]["of_float"]
    assert row["low"] <= row["median"] <= row["high"]
    assert content["context"]["threads"] >= 1
    assert content["summary"]["cpu"]["brevitas"]["of_brevitas"] == pytest.approx(1.0)


def test_the_table_names_every_variant(capsys):
    qat_step.main([*SMALL, "--channels-last", "--bf16"])
    printed = capsys.readouterr().out
    assert all(name in printed for name in qat_step.VARIANTS)
    assert "channels_last, bf16 autocast" in printed
