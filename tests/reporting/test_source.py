"""Numbers that know where they come from."""

import pytest

from qunlearn.reporting.source import ORACLE, Value, html, joined, listed, plain, pointer, sources, svg, written


def test_a_pointer_escapes_what_json_pointers_reserve():
    assert pointer("context", "data", "counts", "train/forget", 0) == "/context/data/counts/train~1forget/0"
    assert pointer("a~b") == "/a~0b"


@pytest.mark.parametrize(
    ("value", "spec", "text"),
    [
        (-0.314, ".2f", "\N{MINUS SIGN}0.31"),
        (0.1234, ".1%", "12.3 %"),
        (1164, ",d", "1,164"),
        (0.05, "", "0.05"),
        ("2.15.0", "", "2.15.0"),
        ("x86-64", "", "x86-64"),
        ("e3b0c44298fc1c14", ".4", "e3b0"),
    ],
)
def test_values_are_written_by_their_format(value, spec, text):
    assert written(value, spec) == text


def test_a_number_is_an_element_with_its_source_on_the_page_and_in_figures():
    phrase = ["gap ", Value(0.456, ("/summary/3/mean/average_gap",)), " <b>"]
    attributes = 'data-source="/summary/3/mean/average_gap" data-format=".2f"'

    assert html(phrase) == f"gap <span {attributes}>0.46</span> &lt;b&gt;"
    assert svg(phrase) == f"gap <tspan {attributes}>0.46</tspan> &lt;b&gt;"
    assert plain(phrase) == "gap 0.46 <b>"
    assert sources(phrase) == ' data-sources="/summary/3/mean/average_gap|.2f"'
    assert sources("no number") == ""


def test_a_derived_number_names_its_operation_and_all_its_sources():
    value = Value(2.0, ("/a", "/b"), ".1f", "mean")

    assert html([value]) == '<span data-derived="mean /a /b" data-format=".1f">2.0</span>'


def test_an_oracle_is_a_visible_word():
    assert html(["qmul ", ORACLE]) == 'qmul <span class="oracle">ORACLE</span>'
    assert plain(["qmul ", ORACLE]) == "qmul ORACLE"


def test_lists_are_joined_as_people_write_them():
    assert plain(listed(["a"])) == "a"
    assert plain(listed(["a", "b"])) == "a and b"
    assert plain(listed(["a", ["b"], "c"])) == "a, b and c"
    assert plain(joined(["a", "", [], "b"], ", ")) == "a, b"
