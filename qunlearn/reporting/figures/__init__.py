"""The report's figures as pictures, drawn with matplotlib from the tables of `qunlearn.reporting.series`."""

from collections.abc import Callable

from matplotlib.figure import Figure

from qunlearn.reporting.figures.beside_retrain import accuracy_and_membership_figure
from qunlearn.reporting.figures.conflict import conflict_figure, conflicts_figure
from qunlearn.reporting.figures.distributions import confidence_figure, loss_figure
from qunlearn.reporting.figures.forget_losses import forget_losses_figure
from qunlearn.reporting.figures.gap import gap_figure
from qunlearn.reporting.figures.layers import layers_figure
from qunlearn.reporting.figures.style import png
from qunlearn.reporting.figures.trade_off import cost_figure, trade_off_figure
from qunlearn.reporting.study import Evaluation

FIGURES: dict[str, Callable[[Evaluation], Figure]] = {
    "gap": gap_figure,
    "accuracy_and_membership": accuracy_and_membership_figure,
    "trade_off": trade_off_figure,
    "confidence": confidence_figure,
    "loss": loss_figure,
    "forget_losses": forget_losses_figure,
    "conflict": conflicts_figure,
    "layers": layers_figure,
    "cost": cost_figure,
}
"""Figure -> what draws it; the same names as `series.SERIES`."""

__all__ = ["FIGURES", "conflict_figure", "gap_figure", "png"]
