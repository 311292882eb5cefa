"""Runs in Prefect have telling names."""

import importlib
import re

import pytest
from small_pipeline import STAGES

from flows import naming


@pytest.mark.parametrize("name", [*STAGES, "deletion"])
def test_every_flow_names_its_runs(name):
    flow = getattr(importlib.import_module(f"flows.{name}"), name)
    assert flow.flow_run_name is naming.flow_and_time


def test_a_run_is_named_by_its_flow_and_the_minute_of_its_start(monkeypatch):
    # What Prefect says while no flow runs.
    monkeypatch.setenv("PREFECT__RUNTIME__FLOW_RUN__FLOW_NAME", "unlearn")
    assert re.fullmatch(r"unlearn \d{4}-\d\d-\d\d \d\d:\d\d UTC", naming.flow_and_time())
