"""Descriptions of runs and models, as the MLflow page shows them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

NOTE_TAG = "mlflow.note.content"

HIDDEN = ("mlflow.", "version_", "hardware_", "prefect_", "dvc_", "git_", "host", "pid", "process_start", "kind")
"""Beginnings of tags that a description leaves to the list of tags."""


def description(title: str, tags: Mapping[str, str], more: Sequence[tuple[str, str]] = ()) -> str:
    """Markdown: a line of text, then a table of the tags that tell runs apart, and of `more` rows of Markdown."""
    rows = [f"| {key.replace('_', ' ')} | `{value}` |" for key, value in tags.items() if not key.startswith(HIDDEN)]
    rows += [f"| {key} | {value} |" for key, value in more]
    table = "\n".join(["| | |", "|---|---|", *rows]) if rows else ""
    return f"{title}\n\n{table}".strip()
