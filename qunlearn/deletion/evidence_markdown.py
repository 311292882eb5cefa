"""The evidence as Markdown that reads well as plain text too: for a terminal, and as an artifact beside a run."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence

from qunlearn.deletion import evidence_words as words
from qunlearn.deletion.evidence import Document, Gate, Signed


def render(signed: Signed) -> str:
    """The document of one request, in the order of its page."""
    document = signed.document
    lines = [*_headline(document), *_request(document), *_model(document), *_gates(document), *_attempts(document)]
    lines += [*_purge(document), *_lists(document), *_check(signed)]
    return "\n".join(lines).rstrip() + "\n"


def escaped(text: str) -> str:
    """Text in which nothing is markup; what means nothing where it stands, stays readable."""
    return re.sub(r"[\\`*|<]|(?<!\w)_|_(?!\w)|(?<=\])\(", r"\\\g<0>", text)


def plain(markdown: str) -> str:
    """For a terminal, which shows markup as it stands: `escaped` undone."""
    return re.sub(r"\\([\\`*|<_(])", r"\1", markdown)


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """A table with aligned columns; the cells are escaped here."""
    cells = [list(head), *([escaped(cell) for cell in row] for row in rows)]
    widths = [max(len(row[place]) for row in cells) for place in range(len(head))]
    lines = [
        "| " + " | ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)) + " |" for row in cells
    ]
    return [lines[0], "|" + "|".join("-" * (width + 2) for width in widths) + "|", *lines[1:], ""]


def _headline(document: Document) -> Iterator[str]:
    yield from (f"# Deletion request {document.request.id}: {document.request.outcome}", "")
    yield from (
        f"{words.TITLES[document.request.outcome]}.",
        "",
        escaped(document.verdict),
        "",
        f"*{words.NATURE}*",
        "",
    )


def _request(document: Document) -> Iterator[str]:
    request, counts = document.request, document.request.counts
    yield from (
        "## What was asked",
        "",
        f"- received {words.moment(request.received)}, due {request.due}, completed {words.moment(request.completed)}",
        f"- {words.counted(counts.asked, 'sample')} named by {words.KINDS[request.kind]}: {counts.known} known, "
        f"{counts.unknown} unknown, {counts.already_erased} erased before, {counts.trained_on} trained on",
        f"- batch {document.batch.id} of {words.counted(document.batch.requests, 'request')}",
        "",
    )


def _model(document: Document) -> Iterator[str]:
    if document.model is None or document.method is None:
        return
    before, after, method = document.model.before, document.model.after, document.method
    allowed = "no limit set" if method.limit is None else f"at most {method.limit} allowed"
    yield from ("## How the served model changed", "")
    yield from table(
        [escaped(after.name), "before", "since"],
        [
            ["version", str(before.version), str(after.version)],
            ["training samples", str(before.training_samples), str(after.training_samples)],
            ["weights, sha256", f"{before.weights[:16]}...", f"{after.weights[:16]}..."],
        ],
    )
    since = f"Unlearnings since the last full training: {method.sequential}, {allowed}."
    yield from (f"Method {escaped(method.name)}, seed {method.seed}. {since}", "", "## Figures before and after", "")
    rows = [
        [
            f"{words.SUBSETS[metric.subset]}: {metric.name}",
            words.estimate(metric.before, unit=metric.unit),
            words.estimate(metric.after, unit=metric.unit),
            words.change(metric),
        ]
        for metric in document.metrics or ()
    ]
    yield from table(["figure", "before", "after", "change"], rows)


def _gates(document: Document) -> Iterator[str]:
    if document.gates:
        yield from (f"## Gates: {words.gates_met(document)}", "")
        yield from (f"- {'met' if gate.passed else 'NOT MET'}: {_gate(gate)}" for gate in document.gates)
        yield ""


def _gate(gate: Gate) -> str:
    doubts = {"not informative": not gate.informative, "weak": gate.weak, "not binding": not gate.binding}
    marks = ", ".join(word for word, there in doubts.items() if there)
    return f"**{escaped(gate.name)}**{f' ({marks})' if marks else ''}. {escaped(gate.text)}"


def _attempts(document: Document) -> Iterator[str]:
    if document.attempts:
        yield from ("## Earlier attempts", "")
        yield from (f"- **{escaped(one.method)}**: {escaped(one.reason)}" for one in document.attempts)
        yield ""


def _purge(document: Document) -> Iterator[str]:
    if document.purge is None:
        return
    places = document.purge.scan.places
    done = Counter(words.ACTIONS[one.action] for one in document.purge.objects)
    said = ", ".join(f"{count:,} {action}" for action, count in done.items()) or "nothing there"
    yield from ("## What was purged", "", f"Of the objects with erased samples: {said}.")
    yield "Afterwards every place was searched for what should be gone; nothing was found. Looked at were:"
    yield from ("", *(f"- {escaped(place.what)}: {words.counted(place.objects, 'object')}" for place in places), "")


def _lists(document: Document) -> Iterator[str]:
    yield from ("## Out of this program's reach", "", *(f"- {escaped(one)}" for one in document.outside_custody), "")
    yield from ("## What this does not prove", "", *(f"- {escaped(one)}" for one in document.limits), "")


def _check(signed: Signed) -> Iterator[str]:
    request, ledger = signed.document.request.id, signed.document.ledger
    yield from ("## How to check it", "", f"    qunlearn evidence verify {request}", "")
    yield f"Signed with the key {signed.signature.key}. Last event of the ledger: {ledger.number}, {ledger.hash}."
