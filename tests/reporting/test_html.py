"""The page: complete, self-contained, true to the evaluation."""

import copy
import json
import re
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path

import pytest

from qunlearn.reporting.html import render
from qunlearn.reporting.table import markdown_table

RESULTS = Path(__file__).parents[2] / "docs" / "results"
VOID = {"meta", "link", "br", "wbr"}
INLINE = {"span", "tspan", "b", "em", "i", "code"}


class Reader(HTMLParser):
    """Checks nesting and collects tags and text."""

    def __init__(self):
        super().__init__()
        self.open, self.tags, self.text = [], [], []

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        if tag not in VOID:
            assert self.open.pop() == tag
        if tag not in INLINE:
            self.text.append(" ")

    def handle_data(self, data):
        if "style" not in self.open:
            self.text.append(data)


def read(page):
    reader = Reader()
    reader.feed(page)
    assert reader.open == []
    return reader, " ".join("".join(reader.text).split())


@pytest.fixture(scope="module")
def page(evaluation):
    return render(evaluation)


def test_page_is_well_formed_and_loads_nothing(page):
    reader, _ = read(page)
    sources = [attrs.get(key) for _, attrs in reader.tags for key in ("src", "href", "xlink:href") if attrs.get(key)]

    anchors = {attrs["id"] for _, attrs in reader.tags if "id" in attrs}
    assert sources[0] == "data:,"
    assert {source.removeprefix("#") for source in sources[1:]} == anchors
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
        "AMD EPYC 7B13, 2 threads",
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

    # gap, four figures, trade-off, distributions, forget losses, conflict, cost
    assert len(figures) == 2 + 4 + 2 + 2 * 7 + 3 + 2 + 2
    assert all(re.search(r"<title>.+?</title><desc[^>]*>.+?</desc>", figure) for figure in figures)
    assert all('role="img"' in figure.partition(">")[0] for figure in figures)


def test_audit_is_told_in_a_sentence_and_shown_by_layer(page):
    _, text = read(page)

    assert "4/4 in the 7 inner layers, 8/8 at the 2 edges" in text
    assert "layer2.0.downsample.0" in text


def test_a_wrong_bit_width_inside_is_visible(evaluation):
    changed = copy.deepcopy(evaluation)
    changed["context"]["audit"][3]["activation_bits"] = 8

    assert "4/4 and 4/8 in the 7 inner layers" in read(render(changed))[1]


def test_departures_from_the_configured_bits_are_listed(evaluation):
    changed = copy.deepcopy(evaluation)
    changed["cells"][4]["stats"]["departures"] = ["layer1.0.conv1: 32 bits instead of 4"]
    cell = changed["cells"][4]

    assert "no departures" in render(evaluation)
    assert f"{cell['method']}, seed {cell['seed']}: layer1.0.conv1: 32 bits instead of 4" in read(render(changed))[1]


def test_one_seed_renders_without_intervals_and_verdicts(one_seed):
    _, text = read(render(one_seed))

    assert "no noise floor" in text
    assert "None" not in text
    assert "nan" not in text


def without(evaluation, *, stats=(), context=()):
    changed = copy.deepcopy(evaluation)
    for cell in changed["cells"]:
        for name in stats:
            cell["stats"].pop(name, None)
    for name in context:
        changed["context"].pop(name, None)
    return changed


@pytest.mark.parametrize(
    ("missing", "heading"),
    [
        ({"stats": ["histograms"]}, "How sure is the model?"),
        ({"stats": ["forget_losses"]}, "How did the losses of the forgotten images move?"),
        ({"stats": ["conflict"]}, "Conflict between forgetting and keeping"),
        ({"stats": ["conflict_by_layer", "code_flips_by_layer"]}, "Layer by layer"),
        ({"context": ["methods"]}, "How the settings were chosen"),
        ({"context": ["audit"]}, "Bit-width audit"),
    ],
)
def test_a_section_without_data_is_left_out(evaluation, page, missing, heading):
    assert f">{heading}</h2>" in page
    assert heading not in render(without(evaluation, **missing))


@pytest.mark.parametrize("published", sorted(RESULTS.glob("*.json")), ids=lambda path: path.stem)
def test_published_results_render(published):
    content = json.loads(published.read_text(encoding="utf-8"))
    # Of a study with arms, each is an evaluation.
    for evaluation in content["arms"].values() if "arms" in content else [content]:
        _, text = read(render(evaluation))
        assert all(row["method"] in text for row in evaluation["summary"])


def test_headings_are_in_order(page):
    levels = [int(level) for level in re.findall(r"<h(\d)", page)]

    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(later - earlier <= 1 for earlier, later in pairwise(levels))


def test_table_headers_have_a_scope_and_scrolling_regions_a_label(page):
    reader, _ = read(page)
    regions = [attrs for _, attrs in reader.tags if attrs.get("class") == "scroll"]

    assert all("scope" in attrs for tag, attrs in reader.tags if tag == "th")
    assert regions
    assert all(attrs["role"] == "region" and attrs["aria-label"] and attrs["tabindex"] == "0" for attrs in regions)


def test_an_oracle_is_marked_wherever_its_name_stands(page):
    _, text = read(page)
    named = [m.end() for m in re.finditer(r"random_label", text)]

    assert len(named) > 10
    assert [text[end : end + 20] for end in named if not text[end:].startswith(" ORACLE")] == []


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


def test_the_same_evaluation_gives_the_same_page(evaluation, page):
    assert render(copy.deepcopy(evaluation)) == page
