"""The figures about methods show the evaluation's numbers."""

import copy
import re
from xml.etree import ElementTree

import pytest

from qunlearn.reporting.charts import gap_chart, reference_chart


def texts(figure):
    return [node.text for node in ElementTree.fromstring(figure).iter("{http://www.w3.org/2000/svg}text")]


def circles(figure, kind):
    nodes = ElementTree.fromstring(figure).iter("{http://www.w3.org/2000/svg}circle")
    return [node for node in nodes if node.attrib["class"].split()[0] == kind]


@pytest.mark.parametrize("width", [380, 820])
def test_gap_chart_orders_methods_by_gap_and_prints_their_numbers(evaluation, width):
    figure = gap_chart(evaluation, width=width)
    rows = sorted(
        (row for row in evaluation["summary"] if row["method"] != "retrain"), key=lambda r: r["mean"]["average_gap"]
    )
    shown = [text for text in texts(figure) if text in {row["method"] for row in rows}]

    assert shown == [row["method"] for row in rows]
    assert all(any(t.startswith(f"{row['mean']['average_gap']:.2f}") for t in texts(figure)) for row in rows)
    assert f"noise floor {evaluation['context']['noise_floor']:.2f}" in texts(figure)


def test_gap_chart_says_when_its_scale_is_not_linear(evaluation):
    calm = copy.deepcopy(evaluation)
    for row in calm["summary"]:
        if row["method"] == "gradient_ascent":
            row["mean"]["average_gap"], row["interval"]["average_gap"] = 4.0, [3.5, 4.5]
    calm["cells"] = [cell for cell in calm["cells"] if cell["method"] != "gradient_ascent"]

    assert "square-root scale" in gap_chart(evaluation, width=820)
    assert "square-root scale" not in gap_chart(calm, width=820)


def test_dots_lie_further_right_the_larger_the_gap(evaluation):
    places = [float(node.attrib["cx"]) for node in circles(gap_chart(evaluation, width=820), "mean")]

    assert places == sorted(places)


def test_every_seed_is_a_small_dot(evaluation, one_seed):
    assert len(circles(gap_chart(evaluation, width=820), "seed")) == 7 * 3
    assert len(circles(gap_chart(one_seed, width=820), "seed")) == 7


def test_reference_chart_colours_by_the_verdict_on_that_figure(evaluation):
    figure = reference_chart(evaluation, metric="mia_confidence", title="MIA")
    row = next(row for row in evaluation["summary"] if row["method"] == "random_label")
    tips = [
        node[0].text
        for node in circles(figure, "mean")
        if row["verdicts"]["mia_confidence"]["verdict"] in node.attrib["class"]
    ]

    assert row["verdict"] != row["verdicts"]["mia_confidence"]["verdict"] == "over"
    assert any(tip.startswith("random_label") for tip in tips)


def test_one_broken_method_becomes_an_arrow_and_flattens_nothing(evaluation):
    figure = reference_chart(evaluation, metric="retain_accuracy", title="RA")
    places = [float(node.attrib["cx"]) for node in circles(figure, "mean")]

    assert len(places) == 6
    assert max(places) - min(places) > 40
    assert "<path" in figure
    row = next(row for row in evaluation["summary"] if row["method"] == "gradient_ascent")
    assert f"{row['mean']['retain_accuracy']:.2f}" in texts(figure)


def test_a_bar_lies_inside_the_band_exactly_where_the_verdict_is_within(evaluation):
    for metric in ("forget_accuracy", "test_accuracy", "mia_confidence"):
        figure = reference_chart(evaluation, metric=metric, title=metric)
        band = re.search(r'class="band" x="([\d.]+)" y="[\d.]+" width="([\d.]+)"', figure)
        start, end = float(band[1]), float(band[1]) + float(band[2])
        for kind, left, right in re.findall(r'class="interval (\w+)" x1="([\d.]+)" y1="[\d.]+" x2="([\d.]+)"', figure):
            inside = start - 0.2 <= min(float(left), float(right)) and max(float(left), float(right)) <= end + 0.2
            assert inside == (kind == "within")


def test_the_gap_chart_of_one_seed_has_neither_intervals_nor_a_floor(one_seed):
    figure = gap_chart(one_seed, width=380)

    assert not any(text.startswith("noise floor") for text in texts(figure))
    assert 'class="interval' not in figure
