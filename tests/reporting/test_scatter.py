"""Scatter plots: every method can be found, and lies where its numbers say."""

import copy
import re
from xml.etree import ElementTree

import pytest

from qunlearn.reporting.scatter import cost_chart, letters, trade_off_chart
from qunlearn.reporting.study import Study

SVG = "{http://www.w3.org/2000/svg}"


def groups(figure, kind):
    nodes = ElementTree.fromstring(figure).iter(f"{SVG}g")
    return [node for node in nodes if node.attrib["class"].split()[0] == kind]


def badges(figure):
    return ["".join(node.itertext()) for node in groups(figure, "badge")]


def means(figure):
    """The tip of each mean, which begins with the method's name -> its place."""
    nodes = [n for n in ElementTree.fromstring(figure).iter(f"{SVG}circle") if n.attrib["class"].startswith("mean")]
    return {n[0].text.split()[0].rstrip(","): (float(n.attrib["cx"]), float(n.attrib["cy"])) for n in nodes}


@pytest.mark.parametrize("width", [380.0, 820.0])
def test_each_method_has_one_badge_with_its_letter_and_the_sign_of_its_verdict(many_methods, width):
    study = Study(many_methods)
    shown = badges(trade_off_chart(study, width=width))

    assert sorted(shown) == sorted(badge for badge, _, _ in letters(study.compared))
    assert len(shown) == len(set(shown)) == 19


@pytest.mark.parametrize("width", [380.0, 820.0])
def test_badges_do_not_overlap(many_methods, width):
    figure = trade_off_chart(Study(many_methods), width=width)
    boxes = [tuple(float(node[0].attrib[k]) for k in ("x", "y", "width", "height")) for node in groups(figure, "badge")]

    for i, (x, y, w, h) in enumerate(boxes):
        assert x >= 0
        assert x + w <= width
        assert all(x + w <= a or a + c <= x or y + h <= b or b + d <= y for a, b, c, d in boxes[:i])


def test_higher_accuracies_lie_further_right_and_higher_up(many_methods):
    study = Study(many_methods)
    places = means(trade_off_chart(study, width=820.0))
    rows = {model.name: model.row["mean"] for model in study.compared}

    assert sorted(rows, key=lambda n: rows[n]["forget_accuracy"]) == sorted(rows, key=lambda n: places[n][0])
    assert sorted(rows, key=lambda n: -rows[n]["test_accuracy"]) == sorted(rows, key=lambda n: places[n][1])


def test_a_compressed_axis_says_so(evaluation):
    calm = copy.deepcopy(evaluation)
    calm["summary"] = [row for row in calm["summary"] if row["method"] in ("retrain", "fine_tune", "qmul")]

    assert "compressed" in trade_off_chart(Study(evaluation), width=820.0)
    assert "compressed" not in trade_off_chart(Study(calm), width=820.0)


def test_an_oracle_is_marked_in_badge_and_key(evaluation):
    study = Study(evaluation)
    key = {model.name: badge for model, (badge, _, _) in zip(study.methods, letters(study.methods), strict=True)}

    assert "‡" in key["random_label"]
    assert [name for name, badge in key.items() if "‡" in badge] == ["random_label"]
    assert key["random_label"] in badges(cost_chart(study, metric="cost_ratio", title="Time", width=460.0))


def test_times_not_taken_alone_carry_a_star_the_work_does_not(evaluation):
    changed = copy.deepcopy(evaluation)
    next(row for row in changed["summary"] if row["method"] == "oeu")["concurrent"] = True
    time, work = (
        badges(cost_chart(Study(changed), metric=metric, title="Cost", width=460.0))
        for metric in ("cost_ratio", "work_ratio")
    )

    assert sum("*" in badge for badge in time) == 1
    assert not any("*" in badge for badge in work)


def test_costs_lie_on_a_logarithmic_scale(evaluation):
    changed = copy.deepcopy(evaluation)
    for name, cost in (("fine_tune", 0.1), ("qmul", 0.2), ("oeu", 0.4)):
        next(row for row in changed["summary"] if row["method"] == name)["mean"]["cost_ratio"] = cost
    places = means(cost_chart(Study(changed), metric="cost_ratio", title="Time", width=460.0))

    first, second = places["qmul"][0] - places["fine_tune"][0], places["oeu"][0] - places["qmul"][0]
    assert first == pytest.approx(second, abs=0.3)


@pytest.mark.parametrize("which", ["evaluation", "many_methods", "float_network"])
def test_no_seed_is_cut_at_the_frame(which, request):
    study = Study(request.getfixturevalue(which))
    charts = [cost_chart(study, metric="cost_ratio", title="Time", width=460.0), trade_off_chart(study, width=820.0)]
    for figure in charts:
        axes = re.findall(r'class="axis" x1="([\d.]+)" y1="([\d.]+)" x2="([\d.]+)" y2="([\d.]+)"', figure)
        (left, bottom, right, _), (_, top, _, _) = ([float(value) for value in axis] for axis in axes)
        for node in ElementTree.fromstring(figure).iter(f"{SVG}circle"):
            x, y, radius = (float(node.attrib[name]) for name in ("cx", "cy", "r"))
            assert left + radius < x < right - radius
            assert top + radius < y < bottom - radius


def test_a_method_that_cost_nothing_is_drawn_at_the_edge(evaluation):
    changed = copy.deepcopy(evaluation)
    for row in changed["summary"]:
        row["mean"]["work_ratio"] = 0.0

    assert not re.search("nan|inf", cost_chart(Study(changed), metric="work_ratio", title="Work", width=460.0))


def test_without_costs_there_is_no_figure(evaluation):
    changed = copy.deepcopy(evaluation)
    for row in changed["summary"]:
        row["mean"].pop("cost_ratio", None)

    assert cost_chart(Study(changed), metric="cost_ratio", title="Time", width=460.0) == ""
