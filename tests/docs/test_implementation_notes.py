"""Every file and every test that docs/implementation-notes.md names exists, and every mistake has both."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docs" / "implementation-notes.md").read_text(encoding="utf-8")
SECTIONS = dict(re.findall(r"^## (\d+)\. .*?\n(.*?)(?=^## |\Z)", TEXT, re.MULTILINE | re.DOTALL))


def test_there_are_thirteen_mistakes():
    assert list(SECTIONS) == [str(number) for number in range(1, 14)]


@pytest.mark.parametrize("number", SECTIONS)
def test_a_mistake_has_its_effect_its_guard_and_a_test_that_exist(number):
    section = SECTIONS[number]
    for part in ("**Published code:**", "**Effect:**", "**Guard:**"):
        assert part in section
    guards = re.findall(r"\]\(\.\./(.*?)\)", section)
    tests = re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", section)

    assert guards
    assert tests
    assert all((ROOT / path).is_file() for path in guards)
    for path, name in tests:
        assert re.search(rf"^def {name}\(", (ROOT / path).read_text(encoding="utf-8"), re.MULTILINE), f"{path}::{name}"


def test_every_link_leads_to_a_file():
    for target in re.findall(r"\]\((.*?)\)", TEXT):
        assert (ROOT / "docs" / target).is_file(), target


@pytest.mark.parametrize("figure", ["10 %", "10.8 %", "99.95 %", "0.077", "0.461", "94 %", "1/K"])
def test_the_effects_are_given_in_figures(figure):
    assert figure in TEXT
