"""The report as Markdown, for a pull request: what was found, the table, the figures, and how it was made."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Any

from qunlearn.evaluation.catalogue import CATALOGUE
from qunlearn.reporting import setting
from qunlearn.reporting.content import MEANINGS, SIGNS, finding
from qunlearn.reporting.series import SERIES
from qunlearn.reporting.source import Phrase, plain
from qunlearn.reporting.study import Evaluation, Model, Study
from qunlearn.reporting.table import markdown_table
from qunlearn.reporting.trials import Search, searches
from qunlearn.reporting.variants import Group, variants

FIGURES = {
    "gap": (
        "Average gap to the retrained model",
        "Left of the noise floor a method differs from retraining no more than retraining differs from itself.",
    ),
    "accuracy_and_membership": (
        "Forget, retain, test accuracy and MIA beside retraining",
        "Each figure as a difference to the retrained model of the same seed; both directions count.",
    ),
    "trade_off": (
        "Forgetting against accuracy",
        "The goal is the cross: right of it a method still remembers, left of it it forgot too much, below it it lost.",
    ),
    "confidence": (
        "Confidence in the true label",
        "A method that forgot as retraining does shows the retrained model's curve on the forget set.",
    ),
    "loss": (
        "Loss of each sample",
        "The same for the loss: where the curves of the forget set part, the models can be told apart.",
    ),
    "forget_losses": (
        "Losses of the forget images over the epochs",
        "Where the lower edge of a fan falls back to zero, a part of the forget set is remembered again.",
    ),
    "conflict": (
        "Conflict between forgetting and retaining",
        "Where the cosine is negative, a step that forgets also harms what is retained.",
    ),
    "layers": (
        "Layer by layer",
        "Where the gradients conflict, and where the weights changed.",
    ),
    "cost": (
        "Gap against cost",
        "A method that costs as much as retraining has no use.",
    ),
}
"""Figure -> title and what to look for; the same names as `series.SERIES`."""

REPRODUCE = """\
With the code, `params.yaml` and `data/erased.txt` of this commit:

```sh
make setup
dvc repro                  # runs what is not up to date
dvc plots diff HEAD~1      # these figures beside those of another commit
```

Every number here is in `metrics/evaluation.json`; the table behind a figure is `plots/<figure>.csv`.
"""


def markdown_report(evaluation: Evaluation) -> str:
    """GitHub-flavoured Markdown with relative links to `plots/<figure>.png`, ending in a newline."""
    study = Study(evaluation)
    parts = [
        f"# {plain(setting.title(study))}",
        plain(finding(study)),
        f"{markdown_table(evaluation)}\n{_legend(study)}",
        "## Figures",
        *_figures(evaluation),
        "## How the settings were chosen",
        *_choices(study),
        "## What was run",
        *_facts(study),
        "## How to reproduce it",
        REPRODUCE,
    ]
    return "\n\n".join(part.strip("\n") for part in parts if part) + "\n"


def _legend(study: Study) -> str:
    given = {model.verdict for model in study.models}
    told = [f"{SIGNS[name]} **{name}**: {text}" for name, text in MEANINGS.items() if name in given]
    return f"Verdicts: {'; '.join(told)}. Bold: closest to retraining, or cheapest."


def _figures(evaluation: Evaluation) -> Iterable[str]:
    for name, (title, text) in FIGURES.items():
        if SERIES[name](evaluation):
            yield f"### {title}\n\n{text}\n\n![{title}](plots/{name}.png)"


def _choices(study: Study) -> Iterable[str]:
    if not study.methods:
        yield "No method was run."
        return
    heading = ("Method", "What it is", "Settings", "Allowed to see")
    yield _table(heading, [(_name(m), _what(m), m.choice, ", ".join(m.data_access)) for m in study.methods])
    for group in variants(study):
        yield _differences(group)
    for search in searches(study):
        shown = [_search_row(search, i) for i in range(len(search.trials))]
        headings = (*search.settings, "score", *search.terms, "")
        about = f"{_name(search.model)}: {len(search.trials)} trials on one seed; the lowest score was taken"
        yield _folded(about, _table(headings, shown))
    described = study.context.get("methods", {})
    rows = [(_name(m), _code(described.get(m.name, {}).get("settings"))) for m in study.methods]
    if any(text for _, text in rows):
        yield _folded("Settings of every method", _table(("Method", "Settings"), rows))


def _what(model: Model) -> str:
    method = f"`{model.method}`" if model.variant else ""
    return ": ".join(text for text in (method, model.title) if text)


def _differences(group: Group) -> str:
    if not group.settings:
        return f"The rows of `{group.method}` have equal settings."
    rows = [(_name(model), *(plain(value) for value in values)) for model, values in group.rows]
    return f"Rows of `{group.method}`, by the settings that differ:\n\n{_table(('Row', *group.settings), rows)}"


def _search_row(search: Search, place: int) -> list[str]:
    trial = search.trials[place]
    texts = [plain(phrase) for phrase in (*trial.settings, trial.score, *trial.terms)]
    return [f"**{text}**" if trial.chosen else text for text in texts] + ["chosen" if trial.chosen else ""]


def _facts(study: Study) -> Iterable[str]:
    yield _table(("", ""), [(name, plain(text)) for name, text in setting.facts(study)])
    if study.context.get("audit"):
        yield plain(setting.audit_reading(study))
    departures: Sequence[Phrase] | None = setting.departures(study)
    if departures:
        yield "Not as configured:\n\n" + "\n".join(f"- {plain(text)}" for text in departures)
    names = ("forget_accuracy", "retain_accuracy", "test_accuracy", "mia_confidence", "average_gap")
    yield _folded("What the figures mean", "\n".join(f"- **{_title(n)}**: {CATALOGUE[n].definition}" for n in names))


def _title(name: str) -> str:
    metric = CATALOGUE[name]
    return f"{metric.title} ({metric.short}, {metric.unit})"


def _name(model: Model) -> str:
    return f"`{model.name}`" + (" **ORACLE**" if model.oracle else "")


def _code(settings: Mapping[str, Any] | None) -> str:
    return f"`{json.dumps(settings)}`" if settings else ""


def _folded(summary: str, body: str) -> str:
    """A block that a reader opens; the summary is HTML, where Markdown's signs mean nothing."""
    plainly = escape(summary.replace("`", "").replace("**", ""))
    return f"<details><summary>{plainly}</summary>\n\n{body}\n\n</details>"


def _table(heading: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [heading, ["---"] * len(heading), *rows]
    return "\n".join(f"| {' | '.join(text.replace('|', chr(92) + '|') for text in line)} |" for line in lines)
