"""The page: complete, self-contained, true to the evaluation."""

import copy
import re
from html.parser import HTMLParser

import pytest

from qunlearn.reporting.html import render
from qunlearn.reporting.table import markdown_table

VOID = {"meta", "link", "br", "wbr", "line", "rect", "circle", "path"}


class Reader(HTMLParser):
    """Checks nesting and collects tags and text."""

    def __init__(self):
        super().__init__()
        self.open, self.tags, self.text = [], [], []

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        if tag not in VOID:
            assert self.open.pop() == tag

    def handle_data(self, data):
        if "style" not in self.open:
            self.text.append(data)


def read(page):
    reader = Reader()
    reader.feed(page)
    assert reader.open == []
    return reader, " ".join(" ".join(reader.text).split())


@pytest.fixture(scope="module")
def page(evaluation, steps):
    return render(evaluation, steps=steps)


def test_page_is_well_formed_and_loads_nothing(page):
    reader, _ = read(page)
    sources = [attrs.get(key) for _, attrs in reader.tags for key in ("src", "href", "xlink:href") if attrs.get(key)]

    assert sources == ["data:,"]
    assert not any(tag in ("script", "iframe", "object", "img") for tag, _ in reader.tags)
    assert not re.search(r"url\(|@import|@font-face", page)
    assert set(re.findall(r"https?://[^\"' ]+", page)) == {"http://www.w3.org/2000/svg"}


def test_every_number_of_the_table_is_on_the_page(page, evaluation):
    _, text = read(page)
    for row in markdown_table(evaluation).splitlines()[2:]:
        for number in re.findall(r"\d+\.\d+", row):
            assert number in text


def test_page_says_what_was_run(page):
    _, text = read(page)

    assert "Forgetting 129 images in a 4-bit resnet8" in text
    facts = (
        "digits (scikit-learn)",
        "random, fraction 0.1",
        "4-bit weights, 4-bit inputs, edges 8 bits, weight scales per tensor",
        "0, 1, 2",
        "torch 2.15.0",
        "CPU, 2 threads",
        "sha256 e3b0c44298fc1c14",
        "sees forget, retain",
    )
    for fact in facts:
        assert fact in text


def test_verdicts_are_text_and_sign_not_colour_alone(page, evaluation):
    _, text = read(page)

    assert {"! under", "✕ damaged", "? inconclusive"} <= set(re.findall(r"[!✕?»✓] \w+", text))


def test_every_figure_has_a_title_and_a_description(page):
    figures = re.findall(r"<svg.*?</svg>", page, flags=re.DOTALL)

    assert len(figures) == 2 + 4 + 2
    assert all(re.search(r"<title>.+?</title><desc>.+?</desc>", figure) for figure in figures)


def test_audit_is_told_in_a_sentence_and_shown_by_layer(page):
    _, text = read(page)

    assert "4/4 in the 7 inner layers, 8/8 at the 2 edges" in text
    assert "layer2.0.downsample.0" in text


def test_a_wrong_bit_width_inside_is_visible(evaluation):
    changed = copy.deepcopy(evaluation)
    changed["context"]["audit"][3]["activation_bits"] = 8

    assert "4/4 and 4/8 in the 7 inner layers" in render(changed)


def test_one_seed_without_statistics_renders_without_conflicts_and_intervals(one_seed):
    page = render(one_seed)
    _, text = read(page)

    assert "no noise floor" in text
    assert "Conflict between forgetting" not in text
    assert "None" not in text
    assert "nan" not in text


def test_a_bare_context_is_enough(evaluation):
    bare = {**evaluation, "context": {"noise_floor": None}}

    assert "Every method beside retraining" in render(bare)


def test_content_is_escaped(evaluation):
    changed = copy.deepcopy(evaluation)
    changed["context"]["hardware"] = "<script>alert(1)</script>"
    for row in changed["summary"] + changed["cells"]:
        row["method"] = row["method"].replace("qmul", "<b>q</b>")

    page = render(changed)

    assert "<script>" not in page
    assert "<b>q</b>" not in page
    assert "&lt;b&gt;q&lt;/b&gt;" in page


def test_the_same_evaluation_gives_the_same_page(evaluation, steps, page):
    assert render(evaluation, steps=steps) == page
