"""Descriptions of runs and models, as the MLflow page shows them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

NOTE_TAG = "mlflow.note.content"

HIDDEN = ("mlflow.", "version_", "hardware_", "prefect_", "dvc_", "git_", "host", "pid", "process_start", "kind")
"""Beginnings of tags that a description leaves to the list of tags."""


def description(title: str, tags: Mapping[str, str], more: Sequence[tuple[str, str]] = ()) -> str:
    """Markdown: a line of text, then a table of the tags that tell runs apart, and of `more` rows of Markdown."""
    rows = [f"| {key.replace('_', ' ')} | {code(value)} |" for key, value in tags.items() if not key.startswith(HIDDEN)]
    rows += [f"| {key} | {value} |" for key, value in more]
    table = "\n".join(["| | |", "|---|---|", *rows]) if rows else ""
    return f"{title}\n\n{table}".strip()


def code(value: str) -> str:
    """A value as code on one line, fit for a cell of a table."""
    return f"`{' '.join(value.split()).replace('`', chr(39)).replace('|', '/')}`"


def link(text: str, address: str) -> str:
    """A Markdown link; characters of `text` that would end it are escaped."""
    shown = text.translate({ord(sign): f"\\{sign}" for sign in "\\[]|"})
    return f"[{shown}]({address})"


def cut(text: str, limit: int, *, more: str = "\n…") -> str:
    """At most `limit` characters: whole lines, the last of them `more` where lines were left out."""
    if len(text) <= limit:
        return text
    return text[: limit - len(more)].rpartition("\n")[0] + more
