"""The trials of a search as a table in the description of its run, best first."""

from __future__ import annotations

from collections.abc import Sequence

from tasks.selection import Selection, ranked
from tasks.tracking import Run, Store
from tasks.tracking.markdown import NOTE_TAG, cut, link
from tasks.tracking.notes import LIMIT

SCORED_BY = {
    "validation": "the gap to retraining as estimated on validation images",
    "oracle": "the true gap to the retrained model, which nobody has in production",
}


def describe_search(store: Store, run: Run, selection: Selection, *, seed: int) -> None:
    """Write the trials into the description of the search's run.

    Args:
        seed: that of the original which the trials unlearned.
    """
    names = list(next(tried.score.terms for tried in selection.trials if tried.score.value is not None))
    columns = ["", "trial", "score", *(name.replace("_", " ") for name in names), "weights"]
    rows = [
        f"Trials on the original of seed {seed}, scored by {SCORED_BY[selection.choice.selected_by]}: "
        "in percentage points, lower is better.",
        "",
        f"| {' | '.join(columns)} |",
        "|" + "---|" * len(columns),
        *(_row(store, selection, place, names) for place in ranked(selection.trials)),
    ]
    run.tag({NOTE_TAG: cut("\n".join(rows), LIMIT, more="\n\nMore of them are in search.json.")})


def _row(store: Store, selection: Selection, place: int, names: Sequence[str]) -> str:
    tried = selection.trials[place]
    name = link(tried.candidate.label, store.connection.run_link(tried.outcome.run_id))
    if tried.score.value is None:
        figures = ["diverged", *("" for _ in names), ""]
    else:
        terms = (f"{tried.score.terms[one]:.2f}" for one in names)
        figures = [f"{tried.score.value:.2f}", *terms, f"`{str(tried.outcome.digest)[:12]}`"]
    mark = "**chosen**" if place == selection.chosen else ""
    return f"| {' | '.join([mark, name, *figures])} |"
