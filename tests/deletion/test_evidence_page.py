"""Evidence for people: the page and the Markdown show what the document says, and claim no more."""

from __future__ import annotations

import hashlib
import re
from html import unescape
from html.parser import HTMLParser

import pytest
from deletion import evidence_examples as examples
from hypothesis import given
from hypothesis import strategies as st

from qunlearn.deletion import evidence_markdown, evidence_page, evidence_words
from qunlearn.deletion.evidence import Gate

VIEWS = [evidence_page.render, evidence_markdown.render]
VIEW_NAMES = ["page", "markdown"]
EVIL = "<script>alert(1)</script> | <b> [click](http://example.org) `x` *y* _z_ \x1b[31m\nred & \"quoted\" 'text'"


class Reader(HTMLParser):
    """Text, anchors and everything that could load or run something."""

    def __init__(self, page):
        super().__init__()
        self.text, self.ids, self.targets, self.tags, self.open = [], [], [], [], []
        self.feed(page)

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        given = dict(attributes)
        self.ids += [given["id"]] if "id" in given else []
        self.targets += [given[name] for name in ("href", "src", "action") if name in given]
        assert not [name for name in given if name.startswith("on")]
        if tag not in ("meta", "link", "br"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] != "style":
            self.text.append(data)

    @property
    def words(self):
        return " ".join(" ".join(self.text).split())


@pytest.fixture(params=examples.OUTCOMES)
def signed(request):
    return examples.signed(request.param)


def test_the_page_is_sound_and_needs_nothing_from_elsewhere(signed):
    page = evidence_page.render(signed)
    reader = Reader(page)
    assert reader.open == []
    assert len(set(reader.ids)) == len(reader.ids)
    assert {target for target in reader.targets if target != "data:,"} <= {f"#{one}" for one in reader.ids}
    assert not {"script", "img", "iframe", "object", "form"} & set(reader.tags)
    assert not re.search(r"url\(|@import|https?:", page)


@pytest.mark.parametrize("render", VIEWS, ids=VIEW_NAMES)
def test_it_is_never_called_more_than_a_record(signed, render):
    text = render(signed)
    assert not examples.OVERCLAIMS.search(text)
    assert "does not prove" in text
    assert evidence_words.NATURE in text


def test_the_word_list_finds_what_it_is_for():
    for claim in (
        "a proof of erasure",
        "this certifies",
        "Certificate",
        "guaranteed",
        "provably gone",
        "it proves that",
    ):
        assert examples.OVERCLAIMS.search(claim)


@pytest.mark.parametrize("render", VIEWS, ids=VIEW_NAMES)
def test_limits_and_places_out_of_reach_are_all_there(signed, render):
    text = unescape(render(signed))
    for line in (*signed.document.limits, *signed.document.outside_custody):
        assert line in text
    assert signed.document.verdict in text
    assert evidence_words.TITLES[signed.document.request.outcome] in text


def test_every_digest_of_the_document_is_on_the_page(signed):
    page = evidence_page.render(signed)
    digests = re.findall(rb"\b[0-9a-f]{40,64}\b", signed.content)
    assert len(digests) >= 5
    assert [one for one in digests if one.decode() not in page] == []
    assert hashlib.sha256(signed.content).hexdigest() in page
    assert signed.signature.key in page


@pytest.mark.parametrize(
    ("outcome", "left_out"),
    [
        ("unlearned", {"attempts"}),
        ("retrained", set()),
        ("not trained", {"attempts", "model", "figures", "gates"}),
        ("already erased", {"attempts", "model", "figures", "gates", "purge"}),
        ("not present", {"attempts", "model", "figures", "gates", "purge"}),
    ],
)
def test_what_there_is_not_has_no_section(outcome, left_out):
    every = ["request", "model", "figures", "gates", "attempts", "purge", "outside", "limits", "digests", "check"]
    assert Reader(evidence_page.render(examples.signed(outcome))).ids == [one for one in every if one not in left_out]


def test_gates_that_ask_for_harm_are_not_counted_as_telling_of_forgetting():
    """A model that was not changed at all passes them."""
    harm = [gate for gate in examples.gates() if gate.name in {"utility", "streisand"}]
    assert len(harm) == 2
    words = Reader(evidence_page.render(examples.signed(gates=harm))).words
    assert "Gates met 2 of 2 none on forgetting" in words


def test_figures_and_gates_are_told_with_their_doubts():
    words = Reader(evidence_page.render(examples.signed())).words
    assert (
        "Forgotten samples accuracy, 36 samples 100.00 % [90.36, 100.00] 94.44 % [81.86, 98.46] \N{MINUS SIGN}5.56"
        in words
    )
    assert "membership ✓ met New model 0.531 [0.442, 0.617] Old model 0.684, not met Held against 0.55" in words
    assert "loss_percentile ✓ met ? not informative ~ weak · not binding" in words
    assert "on forgetting 1 of 2 informative and not weak" in words
    missed = examples.gates()[3].model_copy(update={"passed": False})
    assert "loss_percentile ✕ not met" in Reader(evidence_page.render(examples.signed(gates=[missed]))).words


@given(st.text(alphabet="ab_`*|<\\[](", max_size=30))
def test_a_terminal_shows_text_as_it_was_written(text):
    assert evidence_markdown.plain(evidence_markdown.escaped(text)) == text


def test_the_markdown_says_the_same():
    text = evidence_markdown.render(examples.signed("retrained"))
    row = ["Forgotten samples: accuracy", "100.00 % [90.36, 100.00]", "94.44 % [81.86, 98.46]", "\N{MINUS SIGN}5.56"]
    assert row in [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines()]
    assert "- met: **loss_percentile** (not informative, weak, not binding). Weak evidence" in text
    assert "- **oeu**: The model still knows the samples" in text
    for block in re.findall(r"(?:^\|.*\n)+", text, re.MULTILINE):
        assert len({len(line) for line in block.splitlines()}) == 1


def test_a_model_whose_weights_did_not_change_is_not_passed_over():
    model = examples.parts()["model"]
    same = model.model_copy(update={"after": model.after.model_copy(update={"weights": model.before.weights})})
    assert "byte for byte those of before" in evidence_page.render(examples.signed(model=same))
    assert "byte for byte those of before" not in evidence_page.render(examples.signed())


def test_a_request_that_was_late_says_so():
    request = examples.parts()["request"]
    late = request.model_copy(update={"due": request.completed.date().replace(day=1)})
    assert "after the due date" in evidence_page.render(examples.signed(request=late))
    assert "after the due date" not in evidence_page.render(examples.signed())


def test_of_many_objects_some_are_listed_and_all_are_counted():
    words = Reader(evidence_page.render(examples.signed(purge=examples.purge(100)))).words
    assert "97 model removed" in words
    assert "40 more objects in the signed file" in words
    assert "shadow model 55" in words
    assert "shadow model 56" not in words


def test_text_is_text_wherever_it_comes_from():
    gate = Gate.model_validate({**examples.gates()[0].model_dump(), "text": EVIL, "name": EVIL, "informative": False})
    signed = examples.signed(verdict=EVIL, gates=[gate], limits=[EVIL], outside_custody=[EVIL])
    page, markdown = evidence_page.render(signed), evidence_markdown.render(signed)
    assert Reader(page).tags.count("script") == 0
    assert "<script>alert" not in page
    assert "<script>alert(1)</script>" in Reader(page).words
    assert "\x1b" not in page + markdown
    for markup in ("<script", "<b>", "](", " `x`", " *y*", " _z_"):
        assert re.search(rf"(?<!\\){re.escape(markup.lstrip())}", markdown.split("## Out of")[1]) is None, markup


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (94.444, "%", "94.44 %"),
        (-0.5, "", "\N{MINUS SIGN}0.5"),
        (1 / 3, "", "0.3333"),
        (2.0, "nats", "2 nats"),
        (0.0, "%", "0.00 %"),
    ],
)
def test_numbers_have_as_many_digits_as_say_something(value, unit, text):
    assert evidence_words.number(value, unit=unit) == text


def test_intervals_and_counts_in_words():
    assert evidence_words.interval((-0.21, 1.33)) == "[\N{MINUS SIGN}0.21, 1.33]"
    assert evidence_words.interval((90.0, 99.999), unit="%") == "[90.00, 100.00]"
    assert evidence_words.interval(None) == ""
    assert [evidence_words.counted(n, "sample") for n in (0, 1, 1234)] == ["0 samples", "1 sample", "1,234 samples"]
