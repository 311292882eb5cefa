"""How hyper-parameters were chosen: the trials of each method that was searched."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from qunlearn.reporting.source import Phrase, Value, pointer
from qunlearn.reporting.study import Model, Study, phrase


@dataclass(frozen=True)
class Trial:
    """One setting that was tried: its values, its score, the terms of the score, whether it won."""

    settings: Sequence[Phrase]
    score: Phrase
    terms: Sequence[Phrase]
    chosen: bool


@dataclass(frozen=True)
class Search:
    """A method's trials with the headings of their columns."""

    model: Model
    settings: Sequence[str]
    terms: Sequence[str]
    trials: Sequence[Trial]


def searches(study: Study) -> list[Search]:
    """Of each method with trials, in the order of the evaluation."""
    found = []
    for model in study.methods:
        trials = study.context.get("methods", {}).get(model.name, {}).get("trials") or []
        if not trials:
            continue
        settings = list(dict.fromkeys(name for trial in trials for name in trial["settings"]))
        terms = list(dict.fromkeys(name for trial in trials for name in trial.get("terms") or {}))
        rows = [_trial(study, model, i, trial, settings, terms) for i, trial in enumerate(trials)]
        found.append(Search(model, settings, terms, rows))
    return found


def _trial(
    study: Study, model: Model, place: int, trial: Mapping[str, Any], settings: Sequence[str], terms: Sequence[str]
) -> Trial:
    path = ("context", "methods", model.name, "trials", place)

    def number(*rest: str) -> Phrase:
        return phrase(study.value(*path, *rest, spec=".2f"))

    def setting(name: str) -> Phrase:
        value = trial["settings"].get(name)
        if isinstance(value, list | dict):
            return [Value(str(value), (pointer(*path, "settings", name),), "", "text")]
        return phrase(study.value(*path, "settings", name, spec=""))

    return Trial(
        [setting(name) for name in settings],
        number("score"),
        [number("terms", name) for name in terms],
        bool(trial.get("chosen")),
    )
