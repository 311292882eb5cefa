"""The figures about methods show the evaluation's numbers."""

import copy
import re
from xml.etree import ElementTree

import pytest

from qunlearn.reporting.charts import gap_chart, reference_chart
from qunlearn.reporting.content import SIGNS
from qunlearn.reporting.study import Study

SVG = "{http://www.w3.org/2000/svg}"


def texts(figure):
    return ["".join(node.itertext()) for node in ElementTree.fromstring(figure).iter(f"{SVG}text")]


def seeds(figure):
    return [n for n in ElementTree.fromstring(figure).iter(f"{SVG}circle") if n.attrib.get("class") == "seed"]


def means(figure):
    """(tip, verdict, sign, place) of each mean."""
    found = []
    for group in ElementTree.fromstring(figure).iter(f"{SVG}g"):
        if group.attrib["class"].startswith("sign mean"):
            tip, circle, sign = group
            found.append((tip.text, group.attrib["class"].split()[2], sign.text, float(circle.attrib["cx"])))
    return found


@pytest.mark.parametrize("width", [380, 820])
def test_gap_chart_orders_methods_by_gap_and_prints_their_numbers(evaluation, width):
    shown = texts(gap_chart(Study(evaluation), width=width))
    rows = sorted(
        (row for row in evaluation["summary"] if row["method"] != "retrain"), key=lambda r: r["mean"]["average_gap"]
    )
    names = [text.removesuffix(" ORACLE") for text in shown]

    assert [n for n in names if n in {row["method"] for row in rows}] == [row["method"] for row in rows]
    assert all(any(t.startswith(f"{row['mean']['average_gap']:.2f}") for t in shown) for row in rows)
    assert f"noise floor {evaluation['context']['noise_floor']:.2f}" in shown


def test_gap_chart_says_when_its_scale_is_not_linear(evaluation):
    calm = copy.deepcopy(evaluation)
    for row in calm["summary"]:
        if row["method"] == "gradient_ascent":
            row["mean"]["average_gap"], row["interval"]["average_gap"] = 4.0, [3.5, 4.5]
    calm["cells"] = [cell for cell in calm["cells"] if cell["method"] != "gradient_ascent"]

    assert "square-root scale" in gap_chart(Study(evaluation), width=820)
    assert "square-root scale" not in gap_chart(Study(calm), width=820)


def test_dots_lie_further_right_the_larger_the_gap(evaluation):
    places = [place for _, _, _, place in means(gap_chart(Study(evaluation), width=820))]

    assert places == sorted(places)


def test_every_seed_is_a_small_dot(evaluation, one_seed):
    assert len(seeds(gap_chart(Study(evaluation), width=820))) == 7 * 3
    assert len(seeds(gap_chart(Study(one_seed), width=820))) == 7


def test_a_mean_shows_its_verdict_as_a_sign_not_by_colour_alone(many_methods):
    found = means(gap_chart(Study(many_methods), width=820))

    assert len(found) == 19
    assert all(sign == SIGNS[verdict] for _, verdict, sign, _ in found)


def test_reference_chart_colours_by_the_verdict_on_that_figure(evaluation):
    figure = reference_chart(Study(evaluation), metric="mia_confidence", title="MIA")
    row = next(row for row in evaluation["summary"] if row["method"] == "random_label")

    assert row["verdict"] != row["verdicts"]["mia_confidence"]["verdict"] == "over"
    assert any(tip.startswith("random_label") and verdict == "over" for tip, verdict, _, _ in means(figure))


@pytest.mark.parametrize("metric", ["forget_accuracy", "test_accuracy", "mia_confidence"])
def test_a_mean_lies_at_its_difference_to_retrain_and_its_percentage_is_printed(evaluation, metric):
    figure = reference_chart(Study(evaluation), metric=metric, title=metric)
    rows = {row["method"]: row for row in evaluation["summary"] if row["method"] != "retrain"}
    found = [(rows[re.split(r"[ ,]", tip)[0]], place) for tip, _, _, place in means(figure)]
    line = float(re.search(r'class="reference" x1="([\d.]+)"', figure)[1])

    for row, place in found:
        assert (place - line) * row["verdicts"][metric]["difference"] >= -0.05
    assert [row["method"] for row, _ in sorted(found, key=lambda pair: pair[1])] == [
        row["method"] for row, _ in sorted(found, key=lambda pair: pair[0]["verdicts"][metric]["difference"])
    ]
    for row in rows.values():
        assert f"{row['mean'][metric]:.2f}" in texts(figure)


def test_the_last_rows_seeds_do_not_touch_the_axis(evaluation, many_methods):
    for study in (Study(evaluation), Study(many_methods)):
        for figure in (gap_chart(study, width=820), reference_chart(study, metric="test_accuracy", title="TA")):
            axis = float(re.search(r'class="axis" x1="[\d.]+" y1="([\d.]+)"', figure)[1])
            assert all(float(seed.attrib["cy"]) + float(seed.attrib["r"]) < axis - 2 for seed in seeds(figure))


def test_one_broken_method_becomes_an_arrow_and_flattens_nothing(evaluation):
    figure = reference_chart(Study(evaluation), metric="retain_accuracy", title="RA")
    places = [place for _, _, _, place in means(figure)]

    assert len(places) == 6
    assert max(places) - min(places) > 40
    assert "<path" in figure
    row = next(row for row in evaluation["summary"] if row["method"] == "gradient_ascent")
    assert f"{row['mean']['retain_accuracy']:.2f}" in texts(figure)


def test_a_bar_lies_inside_the_band_exactly_where_the_verdict_is_within(evaluation):
    for metric in ("forget_accuracy", "test_accuracy", "mia_confidence"):
        figure = reference_chart(Study(evaluation), metric=metric, title=metric)
        band = re.search(r'class="band" x="([\d.]+)" y="[\d.]+" width="([\d.]+)"', figure)
        start, end = float(band[1]), float(band[1]) + float(band[2])
        for kind, left, right in re.findall(r'class="interval (\w+)" x1="([\d.]+)" y1="[\d.]+" x2="([\d.]+)"', figure):
            inside = start - 0.2 <= min(float(left), float(right)) and max(float(left), float(right)) <= end + 0.2
            assert inside == (kind == "within")


def test_the_gap_chart_of_one_seed_has_neither_intervals_nor_a_floor(one_seed):
    figure = gap_chart(Study(one_seed), width=380)

    assert not any(text.startswith("noise floor") for text in texts(figure))
    assert 'class="interval' not in figure


def test_an_oracle_is_named_one_in_every_chart(evaluation):
    study = Study(evaluation)
    charts = [gap_chart(study, width=380), reference_chart(study, metric="test_accuracy", title="TA")]

    assert all("random_label ORACLE" in texts(chart) for chart in charts)
