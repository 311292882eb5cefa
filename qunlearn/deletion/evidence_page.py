"""The evidence as one self-contained HTML page, without network or script. The signed JSON is what counts."""

from __future__ import annotations

import hashlib
from collections import Counter
from dataclasses import dataclass

from jinja2 import Environment, PackageLoader, StrictUndefined

from qunlearn.deletion import evidence_words as words
from qunlearn.deletion.evidence import Document, Purged, Signed

MOST_LISTED = 60
"""So many objects of the purge are listed one by one; all of them are in the JSON."""


@dataclass(frozen=True)
class Section:
    """A part of the page: template and anchor, heading, and whether there is anything to show."""

    name: str
    title: str
    there: bool


def sections(document: Document) -> list[Section]:
    """The parts that this document fills."""
    changed = document.model is not None
    listed = [
        Section("request", "What was asked", True),
        Section("model", "How the served model changed", changed),
        Section("figures", "Figures before and after", changed),
        Section("gates", "Gates", changed),
        Section("attempts", "Earlier attempts", bool(document.attempts)),
        Section("purge", "What was purged", document.purge is not None),
        Section("outside", "Out of this program's reach", True),
        Section("limits", "What this page does not prove", True),
        Section("digests", "Digests", True),
        Section("check", "How to check it", True),
    ]
    return [section for section in listed if section.there]


def counted_objects(objects: tuple[Purged, ...]) -> list[tuple[str, str, int]]:
    """Kind, what was done, and how many objects, in the order of the document."""
    counts = Counter((one.kind, words.ACTIONS[one.action]) for one in objects)
    return [(kind, action, count) for (kind, action), count in counts.items()]


def render(signed: Signed) -> str:
    """The page of one request, from the signed document alone."""
    environment = Environment(
        loader=PackageLoader("qunlearn.deletion"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(
        number=words.number,
        interval=words.interval,
        change=words.change,
        moment=words.moment,
        counted=words.counted,
        forgetting=words.forgetting,
    )
    document = signed.document
    return environment.get_template("evidence.html").render(
        evidence=document,
        signature=signed.signature,
        file_digest=hashlib.sha256(signed.content).hexdigest(),
        title=words.TITLES[document.request.outcome],
        nature=words.NATURE,
        kinds=words.KINDS,
        subsets=words.SUBSETS,
        sections=sections(document),
        actions=words.ACTIONS,
        counted_objects=counted_objects(document.purge.objects) if document.purge else [],
        most_listed=MOST_LISTED,
    )
