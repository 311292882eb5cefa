"""The pictures: all there, true to their tables, readable without colour, and the same bytes every time."""

import copy
import io
from pathlib import Path
from statistics import mean

import matplotlib
import pytest
import yaml
from matplotlib.colors import to_rgb
from PIL import Image

from qunlearn.reporting.figures import FIGURES, conflict_figure, gap_figure, png
from qunlearn.reporting.figures.style import ORACLE_NOTE, VERDICTS, mark, marks
from qunlearn.reporting.series import SERIES
from qunlearn.unlearning import monitor


def texts(figure):
    """All texts, with the line breaks of long ones taken out."""
    return [" ".join(text.get_text().split()) for text in figure.findobj(matplotlib.text.Text) if text.get_text()]


def lightness(colour):
    return sum(weight * part for weight, part in zip((0.299, 0.587, 0.114), to_rgb(colour), strict=True))


def test_every_table_has_a_figure():
    assert list(FIGURES) == list(SERIES)


def test_every_figure_is_a_plot_of_the_pipeline():
    plots = yaml.safe_load((Path(__file__).parents[2] / "dvc.yaml").read_text())["plots"]

    assert [plot for plot in plots if isinstance(plot, str)] == [f"report/plots/{name}.png" for name in FIGURES]


@pytest.mark.parametrize("which", ["evaluation", "one_seed", "many_methods", "float_network", "variants"])
@pytest.mark.parametrize("name", FIGURES)
def test_figures_can_be_drawn_and_say_how_many_seeds(name, which, request):
    evaluation = request.getfixturevalue(which)
    figure = FIGURES[name](evaluation)
    seeds = "1 seed" if which == "one_seed" else "3 seeds"

    assert any(seeds in text for text in texts(figure))
    assert not any("nan" in text or "None" in text for text in texts(figure))


def test_the_same_evaluation_gives_the_same_bytes_whatever_the_users_style(evaluation):
    first = {name: png(draw, evaluation) for name, draw in FIGURES.items()}
    with matplotlib.rc_context({"font.size": 30, "lines.linewidth": 9, "axes.facecolor": "pink"}):
        second = {name: png(draw, copy.deepcopy(evaluation)) for name, draw in FIGURES.items()}

    assert first == second


def test_pictures_hold_no_version_and_no_date(evaluation):
    picture = Image.open(io.BytesIO(png(FIGURES["gap"], evaluation)))

    assert picture.format == "PNG"
    assert set(picture.info) == {"dpi"}
    assert picture.info["dpi"] == pytest.approx((150, 150), abs=0.1)


def test_gap_figure_lists_every_model_but_the_reference_with_its_number(evaluation):
    axes = gap_figure(evaluation).axes[0]
    names = [text.get_text().removesuffix(" (oracle)") for text in axes.get_yticklabels()]
    rows = {row["method"]: row for row in SERIES["gap"](evaluation)}

    assert sorted(names) == sorted(rows)
    assert names[-1] == "oeu"  # the smallest gap on top
    assert [text.get_text() for text in axes.texts] == [f"{rows[name]['average_gap']:.2f}" for name in names]


def test_an_oracle_is_marked_wherever_its_name_stands(evaluation):
    for name, draw in FIGURES.items():
        found = texts(draw(evaluation))
        shown = [text for text in found if text.startswith("random_label")]
        if name != "conflict":  # it records no conflicts
            assert shown
        assert all(text.startswith("random_label (oracle)") for text in shown)
        if shown:
            assert any(text.endswith(f"{ORACLE_NOTE}.") for text in found)


def test_methods_and_verdicts_can_be_told_apart_without_colour(many_methods):
    shapes = [(look["marker"], look["fillstyle"]) for look in marks(many_methods).values()]

    assert len(set(shapes)) == len(shapes) == 20
    assert len({(mark(i)["marker"], mark(i)["fillstyle"]) for i in range(27)}) == 27
    assert len({(shape, fill) for _, shape, fill in VERDICTS.values()}) == len(VERDICTS)
    assert all(lightness(colour) < 0.7 for colour, _, _ in VERDICTS.values())


def test_a_broken_method_becomes_an_arrow_with_its_number(evaluation):
    figure = FIGURES["accuracy_and_membership"](evaluation)
    rows = SERIES["accuracy_and_membership"](evaluation)
    far = next(r for r in rows if r["method"] == "gradient_ascent" and r["metric"] == "retain_accuracy")
    left, right = figure.axes[1].get_xlim()

    assert far["difference"] < left
    assert right < 10
    assert f"{far['difference']:+.1f}".replace("-", "\N{MINUS SIGN}") in texts(figure)


@pytest.mark.parametrize("memory", [1.4, None])
def test_no_interval_is_cut_in_the_cost_figure_whatever_has_a_memory(evaluation, memory):
    changed = copy.deepcopy(evaluation)
    for row in changed["summary"]:
        if row["method"] not in ("retrain", "oeu"):
            row["mean"].pop("memory_ratio", None)
        elif row["method"] == "oeu":
            row["mean"] |= {"memory_ratio": memory} if memory else {}
            row["mean"].pop("memory_ratio" if memory is None else "", None)
    figure = FIGURES["cost"](changed)
    highest = max(row["high"] for row in SERIES["cost"](changed) if row["high"] is not None)

    assert len(figure.axes) == (2 if memory else 1)
    assert all(axes.get_ylim()[1] > highest for axes in figure.axes)
    assert not any("upper edge" in text for text in texts(figure))


def test_an_interval_of_two_seeds_does_not_flatten_the_cost_figure(evaluation):
    changed = copy.deepcopy(evaluation)
    for row in changed["summary"]:
        if row["method"] == "oeu":
            row["interval"]["average_gap"] = [-900.0, 900.0]
    figure = FIGURES["cost"](changed)

    assert figure.axes[0].get_ylim()[1] < 150
    assert any("upper edge" in text for text in texts(figure))


def test_the_mean_of_each_model_stands_at_its_row(evaluation):
    figure = FIGURES["accuracy_and_membership"](evaluation)
    for axes, metric in zip(figure.axes, ("forget_accuracy", "retain_accuracy"), strict=False):
        rows = {row["method"]: row for row in SERIES["accuracy_and_membership"](evaluation) if row["metric"] == metric}
        shown = {text.xy[1]: text.get_text() for text in axes.texts if hasattr(text, "xy") and text.get_text()}
        means = [f"{row['mean']:.2f}" for name, row in rows.items() if name != "retrain"]
        assert [shown[place] for place in range(len(means))] == means


def test_layers_of_many_methods_are_stacked_so_that_their_numbers_stay_readable(evaluation, many_methods):
    assert FIGURES["layers"](evaluation).get_figwidth() < 11
    assert FIGURES["layers"](many_methods).get_figwidth() < 13


RECORDED = {
    "conflict": ["conflict"],
    "histograms": ["confidence", "loss"],
    "conflict_by_layer": ["layers"],
    "forget_losses": ["forget_losses"],
}
"""Entry of the cells' stats -> figures that need it."""


@pytest.mark.parametrize("key", RECORDED)
def test_what_was_not_recorded_is_left_out_or_said(float_network, key):
    without = copy.deepcopy(float_network)
    for cell in without["cells"]:
        cell["stats"].pop(key, None)

    for name in RECORDED[key]:
        assert png(FIGURES[name], without)
        assert any(
            word in " ".join(texts(FIGURES[name](without))) for word in ("No method", "no histograms", "no weight")
        )


def pair(figure, method):
    """Axes of a method's fan of losses, and of its forget accuracy below it."""
    fan = next(axes for axes in figure.axes if axes.get_title() == method)
    place = fan.get_subplotspec()
    below = (place.rowspan.start + 1, place.colspan.start)
    spots = {(a.get_subplotspec().rowspan.start, a.get_subplotspec().colspan.start): a for a in figure.axes}
    return fan, spots[below]


def named_lines(axes, name):
    return [line for line in axes.lines if line.get_label() == name]


def at_epochs(evaluation, method, name):
    """Mean over the seeds of a column of the table, epoch by epoch."""
    rows = [row for row in SERIES["forget_losses"](evaluation) if row["method"] == method]
    return [mean(r[name] for r in rows if r["epoch"] == epoch) for epoch in sorted({row["epoch"] for row in rows})]


def test_the_fan_of_losses_and_the_accuracy_below_it_are_means_over_the_seeds(many_methods):
    fan, accuracy = pair(FIGURES["forget_losses"](many_methods), "two_phase")
    (median,), (correct,) = named_lines(fan, "median"), named_lines(accuracy, "forget accuracy")
    outer, inner = (band.get_paths()[0].vertices[:, 1] for band in fan.collections)
    ends = {name: at_epochs(many_methods, "two_phase", name) for name in ("p05", "p25", "p75", "p95")}

    assert list(median.get_xdata()) == [1, 2, 3, 4, 5, 6]
    assert median.get_ydata() == pytest.approx(at_epochs(many_methods, "two_phase", "p50"))
    assert correct.get_ydata() / 100.0 == pytest.approx(at_epochs(many_methods, "two_phase", "correct"))
    assert set(outer) == {*ends["p05"], *ends["p95"]}
    assert set(inner) == {*ends["p25"], *ends["p75"]}


def test_thin_lines_show_each_seed_where_the_mean_could_hide_one(many_methods):
    fan, accuracy = pair(FIGURES["forget_losses"](many_methods), "two_phase")
    kept = [c["stats"]["forget_losses"] for c in many_methods["cells"] if c["method"] == "two_phase"]
    lines = [line.get_ydata().tolist() for line in named_lines(fan, "each seed")]

    assert lines == [one[name] for name in ("p05", "p95") for one in kept]
    assert len(named_lines(accuracy, "each seed")) == 3


def test_a_dashed_line_parts_the_phases_of_a_method_that_has_them(many_methods):
    figure = FIGURES["forget_losses"](many_methods)

    for axes in pair(figure, "two_phase"):
        (line,) = named_lines(axes, "between two phases")
        assert list(line.get_xdata()) == [2.5, 2.5]
    assert not any(named_lines(axes, "between two phases") for axes in pair(figure, "oeu"))


def test_all_methods_share_a_scale_of_losses_that_shows_0_and_cuts_nothing(many_methods):
    figure = FIGURES["forget_losses"](many_methods)
    methods = ("gradient_ascent", "random_label (oracle)", "oeu", "two_phase")
    fans, accuracies = zip(*(pair(figure, method) for method in methods), strict=True)
    (limits,) = {axes.get_ylim() for axes in fans}
    highest = max(row["p95"] for row in SERIES["forget_losses"](many_methods))

    assert limits[0] == 0.0
    assert highest < limits[1] < 5 * highest
    assert {axes.get_ylim() for axes in accuracies} == {(0.0, 100.0)}
    assert all(axes.get_yticks()[0] == 0.0 for axes in (*fans, *accuracies))


def test_the_only_epoch_of_a_method_can_be_seen(evaluation):
    fan, accuracy = pair(FIGURES["forget_losses"](evaluation), "gradient_ascent")

    assert all(band.get_paths()[0].get_extents().width > 0.1 for band in fan.collections)
    assert {line.get_marker() for line in (*fan.lines, *accuracy.lines)} == {"o"}


def test_one_seed_has_no_thin_lines(one_seed):
    figure = FIGURES["forget_losses"](one_seed)

    assert not any(named_lines(axes, "each seed") for axes in pair(figure, "oeu"))
    assert not any("Thin lines" in text for text in texts(figure))


def test_many_methods_with_epochs_are_wrapped_and_the_note_tells_how_many_images_were_measured(many_methods):
    crowded = copy.deepcopy(many_methods)
    losses = next(cell["stats"]["forget_losses"] for cell in crowded["cells"] if cell["method"] == "oeu")
    for cell in crowded["cells"]:
        if cell["method"] not in ("original", "retrain"):
            cell["stats"]["forget_losses"] = losses
    figure = FIGURES["forget_losses"](crowded)
    shown = [axes for axes in figure.axes if axes.get_visible()]

    assert len(shown) == 2 * len({cell["method"] for cell in crowded["cells"]} - {"original", "retrain"})
    assert figure.get_figwidth() <= 10
    assert any(f"at most {monitor.IMAGES}" in text for text in texts(figure))


def test_conflict_figure_of_one_run_draws_its_columns(steps):
    cosine, removed = conflict_figure(steps["oeu", 0]).axes

    assert cosine.lines[1].get_ydata().tolist() == steps["oeu", 0]["cosine_before"].tolist()
    assert removed.lines[1].get_ydata().tolist() == steps["oeu", 0]["removed_fraction"].tolist()


def test_a_run_of_a_single_step_is_a_point(evaluation, steps):
    short = copy.deepcopy(evaluation)
    for cell in short["cells"]:
        if "conflict" in cell["stats"]:
            for name in ("step", "cosine_before", "removed_fraction"):
                cell["stats"]["conflict"][name] = cell["stats"]["conflict"][name][:1]
    whole, one = FIGURES["conflict"](short), conflict_figure({name: c[:1] for name, c in steps["oeu", 0].items()})

    for figure in (whole, one):
        assert all("o" in {line.get_marker() for line in axes.lines} for axes in figure.axes)


def test_conflict_figure_names_the_columns_it_needs():
    with pytest.raises(ValueError, match="step, cosine_before and removed_fraction are needed"):
        conflict_figure({"step": [1, 2]})
