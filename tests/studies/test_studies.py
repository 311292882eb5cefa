"""Studies: an overlay becomes params.yaml, a finished evaluation becomes a page."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from qunlearn.config import ConfigError, Params, validate
from studies.__main__ import apply
from studies.overlay import FOLDER, Study, merged, names, read
from tasks.workspace import Workspace

ROOT = FOLDER.parent


def params_file(folder: Path) -> Path:
    path = folder / "params.yaml"
    path.write_text((ROOT / "params.yaml").read_text())
    return path


@pytest.mark.parametrize("name", names())
def test_every_study_is_a_valid_parameter_file(name, tmp_path):
    path = params_file(tmp_path)
    apply(name, read(name), path)
    params = Workspace.open(path).params
    study = read(name)
    assert params.seeds == study.params["seeds"]
    if "unlearn" in study.params:
        assert set(params.unlearn) == set(study.params["unlearn"])


def test_a_block_is_replaced_as_a_whole():
    base = yaml.safe_load((ROOT / "params.yaml").read_text())
    study = Study(title="t", question="q", params={"unlearn": {"qmul": {"epochs": 3}}})
    found = merged(base, study)
    assert found["unlearn"] == {"qmul": {"epochs": 3}}
    assert found["training"] == base["training"]


def test_applying_twice_changes_nothing_and_another_study_is_refused(tmp_path):
    path = params_file(tmp_path)
    first, second = names()[:2]
    apply(first, read(first), path)
    content = path.read_text()
    apply(first, read(first), path)
    assert path.read_text() == content
    with pytest.raises(ConfigError, match="git checkout"):
        apply(second, read(second), path)
    assert path.read_text() == content


def test_a_study_with_an_unknown_block_is_refused():
    base = yaml.safe_load((ROOT / "params.yaml").read_text())
    with pytest.raises(ConfigError, match="unknown key"):
        merged(base, Study(title="t", question="q", params={"unlern": {}}))
    with pytest.raises(ConfigError, match="there are"):
        read("no-such-study")


def test_results_of_other_parameters_are_not_published(tmp_path):
    from studies.publish import publish

    name = names()[0]
    base = yaml.safe_load((ROOT / "params.yaml").read_text())
    used = validate(Params, base, where="params.yaml").model_dump(mode="json")
    (tmp_path / "metrics").mkdir()
    evaluation = {"context": {"params": used}, "cells": [], "summary": []}
    (tmp_path / "metrics" / "evaluation.json").write_text(json.dumps(evaluation))
    with pytest.raises(ConfigError, match="other parameters"):
        publish(name, read(name), root=tmp_path)
    assert not (tmp_path / "docs").exists()
