"""The generated files in docs/ are what the code says, and the pages are sound Markdown."""

from __future__ import annotations

import importlib
import re
from pathlib import Path
from typing import get_args

import pytest

from qunlearn.evaluation.catalogue import CATALOGUE
from qunlearn.unlearning import methods
from qunlearn.unlearning.directions import DirectionConfig
from qunlearn.unlearning.masks import MaskConfig

DOCS = Path(__file__).parents[2] / "docs"
PAGES = ("methods.md", "metrics.md", "evidence-fields.md")
FILES = (*PAGES, "evidence.schema.json")


@pytest.fixture(scope="module")
def generate():
    """`docs/generate.py` in this process; its folder is on the path as when a shell runs it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(DOCS))
        yield importlib.import_module("generate").main


@pytest.fixture(scope="module")
def fresh(generate, tmp_path_factory):
    """A folder with all files, written now."""
    folder = tmp_path_factory.mktemp("docs")
    assert generate(["--folder", str(folder)]) == 0
    return folder


@pytest.mark.parametrize("page", FILES)
def test_the_committed_page_is_what_the_code_says(page, fresh):
    assert (DOCS / page).read_text() == (fresh / page).read_text(), "run: python docs/generate.py"


def test_check_names_the_stale_page_and_ends_with_1(generate, fresh, tmp_path, capsys):
    for page in FILES:
        (tmp_path / page).write_text((fresh / page).read_text())
    assert generate(["--check", "--folder", str(tmp_path)]) == 0
    (tmp_path / "methods.md").write_text("old")
    assert generate(["--check", "--folder", str(tmp_path)]) == 1
    message = capsys.readouterr().err

    assert "methods.md is not what the code says" in message
    assert "metrics.md" not in message
    assert (tmp_path / "methods.md").read_text() == "old"


def test_every_method_has_its_section_with_all_its_settings(fresh):
    text = (fresh / "methods.md").read_text()
    sections = dict(re.findall(r"^## (\w+)\n(.*?)(?=^## |\Z)", text, re.MULTILINE | re.DOTALL))

    assert set(methods()) <= set(sections)
    for name, method in methods().items():
        assert method.status in sections[name]
        for field, info in method.config.model_fields.items():
            assert re.search(rf"`{info.alias or field}[:`]", sections[name]), (name, field)


@pytest.mark.parametrize(("heading", "union"), [("Directions", DirectionConfig), ("Masks", MaskConfig)])
def test_every_direction_and_mask_has_its_row_with_all_its_settings(heading, union, fresh):
    text = (fresh / "methods.md").read_text()
    section = re.search(rf"^## {heading}\n(.*?)(?=^## )", text, re.MULTILINE | re.DOTALL)[1]
    rows = {line.split("`")[1]: line for line in section.splitlines() if line.startswith("| `")}
    kinds = {kind.model_fields["kind"].default: kind for kind in get_args(get_args(union)[0])}

    assert set(rows) == set(kinds)
    for name, kind in kinds.items():
        assert " ".join(kind.__doc__.split()) in rows[name]
        for setting, field in kind.model_fields.items():
            assert setting == "kind" or (f"`{setting}: " in rows[name] and field.description in rows[name]), setting


def test_a_setting_that_is_a_block_shows_what_is_in_it(fresh):
    text = (fresh / "methods.md").read_text()

    assert "| `phase1` | a block |" in text
    assert "| `phase2.alpha` | number at least 0 and at most 1 | `0.5` |" in text


def test_a_reconstruction_is_labelled_and_a_paper_is_a_link(fresh):
    text = (fresh / "methods.md").read_text()

    assert "| **reconstruction** |" in next(line for line in text.splitlines() if line.startswith("| [`oeu`]"))
    assert "[arXiv 2602.00567](https://arxiv.org/abs/2602.00567)" in text
    assert "| `lambda` |" in text
    assert "lambda_" not in text


def test_every_metric_is_on_the_page(fresh):
    text = (fresh / "metrics.md").read_text()

    for metric in CATALOGUE.values():
        assert f"`{metric.name}`" in text
        assert metric.unit == "count" or metric.definition.replace("|", "\\|") in text


@pytest.mark.parametrize("page", PAGES)
def test_rows_of_a_table_have_as_many_cells_as_its_head(page, fresh):
    for block in re.findall(r"(?:^\|.*\n)+", (fresh / page).read_text(), re.MULTILINE):
        widths = {len(re.findall(r"(?<!\\)\|", line)) for line in block.splitlines()}
        assert len(widths) == 1, block


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page, fresh):
    text = (fresh / page).read_text()
    headings = {h.lower().replace(" ", "-") for h in re.findall(r"^#+ (.*)$", text, re.MULTILINE)}

    for target in re.findall(r"\]\((.*?)\)", text):
        if target.startswith("#"):
            assert target[1:] in headings
        elif not target.startswith("https://arxiv.org/abs/"):
            assert (DOCS / target).is_file(), target
