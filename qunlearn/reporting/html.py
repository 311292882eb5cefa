"""The report: one self-contained HTML page with inline style and figures. It needs no network and runs no script."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape

from qunlearn.reporting import content, setting
from qunlearn.reporting.charts import gap_chart, reference_chart
from qunlearn.reporting.conflict import conflicts
from qunlearn.reporting.details import detail_tables, glossary, unit
from qunlearn.reporting.distribution import KINDS, columns, distribution_panels
from qunlearn.reporting.forget_losses import forget_loss_panels
from qunlearn.reporting.layers import code_flips, layer_conflicts
from qunlearn.reporting.scatter import cost_chart, letters, trade_off_chart
from qunlearn.reporting.source import Value, html, plain, sources
from qunlearn.reporting.study import Evaluation, Study
from qunlearn.reporting.trials import searches
from qunlearn.reporting.variants import variants

PANELS = (
    ("forget_accuracy", "Forget accuracy"),
    ("retain_accuracy", "Retain accuracy"),
    ("test_accuracy", "Test accuracy"),
    ("mia_confidence", "Membership attack (MIA)"),
)
COSTS = (("cost_ratio", "Wall time over retraining's"), ("work_ratio", "Samples processed over retraining's"))
WIDE, NARROW = 820.0, 380.0
"""Widths of the figures that are drawn twice, for a desk and for a phone."""


@dataclass(frozen=True)
class Section:
    """A part of the page: its template and anchor, its heading, and its word in the table of contents.

    Args:
        needs: name of what the section shows; it is left out where that is empty. None: always shown.
    """

    name: str
    title: str
    short: str
    needs: str | None = None


SECTIONS = (
    Section("run", "What was run", "Setting"),
    Section("table", "Every method beside retraining", "Table"),
    Section("gap", "How far from a retrained model?", "Gap"),
    Section("figures", "The four figures beside retraining", "Four figures"),
    Section("trade_off", "Forgetting against accuracy", "Trade-off", "trade_off_charts"),
    Section("distribution", "How sure is the model?", "Confidence", "distributions"),
    Section("forget_losses", "How did the losses of the forgotten images move?", "Losses", "forget_losses"),
    Section("conflict", "Conflict between forgetting and keeping", "Conflict", "conflicts"),
    Section("layers", "Layer by layer", "Layers", "layered"),
    Section("cost", "What does closeness cost?", "Cost", "cost_charts"),
    Section("details", "Further figures", "Further figures", "details"),
    Section("variants", "How the rows of a method differ", "Variants", "variants"),
    Section("search", "How the settings were chosen", "Search", "searches"),
    Section("audit", "Bit-width audit", "Bits", "audit"),
    Section("glossary", "Glossary", "Glossary"),
)


def render(evaluation: Evaluation) -> str:
    """The page, from the content of `metrics/evaluation.json` alone; what the evaluation has not, is left out.

    Its numbers carry their place in the evaluation, see `qunlearn.reporting.source`.
    """
    environment = Environment(
        loader=PackageLoader("qunlearn.reporting"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(figures=html, text=plain, code=_code, columns=columns)
    study = Study(evaluation)
    shown = {**_words(study), **_figures(study), **_tables(study)}
    sections = [section for section in SECTIONS if section.needs is None or shown[section.needs]]
    return environment.get_template("report.html").render(**shown, sections=sections)


def _words(study: Study) -> dict[str, Any]:
    """Headline, facts and what several sections refer to."""
    title = setting.title(study)
    return {
        "title": title,
        "title_sources": Markup(sources(title)),
        "finding": content.finding(study),
        "cards": content.cards(study),
        "tally": content.tally(study),
        "caution": content.caution(study),
        "facts": setting.facts(study),
        "parts": setting.parts(study),
        "signs": content.SIGNS,
        "meanings": content.MEANINGS,
        "many_seeds": len(study.seeds) > 1,
        "seed_count": study.seed_count,
        "floor": study.floor,
        "concurrent": any(model.concurrent for model in study.models),
        "any_oracle": any(model.oracle for model in study.methods),
        "letters": {"all": letters(study.compared), "methods": letters(study.methods)},
        "unit": unit,
    }


def _figures(study: Study) -> dict[str, Any]:
    found = [(kind, distribution_panels(study, kind)) for kind in KINDS]
    costs = [(title, cost_chart(study, metric=metric, title=title, width=460.0)) for metric, title in COSTS]
    return {
        "gap_charts": _charts(gap_chart(study, width=width) for width in (WIDE, NARROW)),
        "panels": [(title, Markup(reference_chart(study, metric=metric, title=title))) for metric, title in PANELS],
        "trade_off_charts": _charts(trade_off_chart(study, width=width) for width in (WIDE, NARROW)),
        "distributions": [(KINDS[kind].capitalize(), panels) for kind, panels in found if panels],
        "forget_losses": forget_loss_panels(study),
        "conflicts": conflicts(study),
        "cost_charts": [(title, Markup(chart)) for title, chart in costs if chart],
    }


def _tables(study: Study) -> dict[str, Any]:
    flips, cosines = code_flips(study), layer_conflicts(study)
    return {
        "columns": content.columns(study),
        "lines": content.lines(study),
        "layer_conflicts": cosines,
        "flips": flips,
        "layered": flips or cosines,
        "details": detail_tables(study),
        "variants": variants(study),
        "searches": searches(study),
        "audit": [(layer, _bits(study, i)) for i, layer in enumerate(study.context.get("audit") or [])],
        "audit_reading": setting.audit_reading(study),
        "departures": setting.departures(study),
        "glossary": glossary(study),
    }


def _bits(study: Study, place: int) -> list[Value | None]:
    return [study.value("context", "audit", place, f"{kind}_bits", spec="d") for kind in ("weight", "activation")]


def _code(text: str) -> Markup:
    """Text between backticks as code."""
    parts = text.split("`")
    return Markup("").join(Markup("<code>{}</code>").format(p) if i % 2 else escape(p) for i, p in enumerate(parts))


def _charts(charts: Iterable[str]) -> list[Markup]:
    return [Markup(chart) for chart in charts if chart]
