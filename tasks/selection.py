"""What a search for settings has found: each candidate with its score, and the one that is used."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from qunlearn.config import Strict
from qunlearn.unlearning import Candidate, Choice
from tasks.assignments import Outcome
from tasks.scoring import Score


@dataclass(frozen=True)
class Tried:
    """A candidate, the run that made its model, and its score."""

    candidate: Candidate
    outcome: Outcome
    score: Score

    @property
    def failure(self) -> str:
        return self.outcome.reason or "its outputs are not finite"


@dataclass(frozen=True)
class Selection:
    """The settings that a row's final models are made with, and how they came about."""

    choice: Choice
    config: Strict
    trials: tuple[Tried, ...] = ()
    chosen: int | None = None
    """Position of the trial whose settings these are."""

    def entry(self) -> dict[str, Any]:
        """The row's entry under `choices` in `models/unlearn.json`; a trial without a score has diverged."""
        return {
            "method": self.choice.method,
            "selected_by": self.choice.selected_by,
            "settings": self.config.model_dump(mode="json"),
            "data_access": self.choice.data_access,
            "trials": [
                {
                    "settings": dict(tried.candidate.values),
                    "score": tried.score.value,
                    "terms": dict(tried.score.terms),
                    "sha256": tried.outcome.digest,
                    "chosen": place == self.chosen,
                }
                for place, tried in enumerate(self.trials)
            ],
        }


def best(scores: Sequence[Score]) -> int | None:
    """Position of the lowest score, the first of equals; None where there is none."""
    known = [(score.value, place) for place, score in enumerate(scores) if score.value is not None]
    return min(known)[1] if known else None


def ranked(trials: Sequence[Tried]) -> list[int]:
    """Positions by score, the first of equals first; those without one at the end."""
    values = [math.inf if tried.score.value is None else tried.score.value for tried in trials]
    return sorted(range(len(trials)), key=lambda place: values[place])
