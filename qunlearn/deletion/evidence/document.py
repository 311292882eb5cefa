"""The evidence of one completed deletion request, version 1 of its format.

A digest is a sha256 in hexadecimal. The digest of a set of ids is that of the sorted ids, one a line with a newline
after each. Times are UTC.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field, NonNegativeInt, PositiveInt, model_validator

from qunlearn.deletion.evidence.fields import Commit, ObjectDigest, Part, Sha256, Text
from qunlearn.deletion.evidence.model import Attempt, Gate, Method, Metric, ModelChange
from qunlearn.deletion.evidence.request import Batch, Request

FORMAT = "qunlearn deletion evidence"
VERSION = "1"

CHANGED = ("unlearned", "retrained")
"""The outcomes with which the served model changed."""
ERASED = (*CHANGED, "not trained")
"""The outcomes with which samples were erased."""
OF_A_CHANGE = ("model", "method", "metrics", "gates", "digests.retained")
"""Parts that are given exactly with the former."""
OF_AN_ERASURE = ("purge", "digests.erased_after")
"""Parts that are given with the latter, and must be null where nothing was present."""


class Tool(Part):
    """The program that acted. The computer it ran on is left out: no statement here depends on it."""

    version: Text
    """Of the package qunlearn."""
    git_commit: Commit | None
    """Of the checkout it ran from; null outside of one."""


class Digests(Part):
    """What went into the run, and what it wrote."""

    source: Sha256
    """Of the program's source files: it tells apart code that has the same commit but was edited."""
    parameters: Sha256
    """Of all resolved parameters, as canonical JSON."""
    retained: Sha256 | None
    """Of the ids that the method was given to keep; null where the model did not change."""
    erased_before: Sha256 | None
    """Of the file of erased ids before this batch; null where there was none, or nothing was appended."""
    erased_after: Sha256 | None
    """Of that file after this batch; null where nothing was appended."""
    erased_commit: Commit | None
    """The commit with that file; null where nothing was appended, or where there is no repository."""


class Purged(Part):
    """A thing that held what had to go, and what was done about it."""

    kind: Text
    """What sort of thing it was."""
    name: Text
    """Its name in its place."""
    digest: ObjectDigest | None
    """Of what it was before; null where its store knows none."""
    place: Text
    """Where it was, in words."""
    action: Literal["remove", "rewrite", "quarantine"]
    """Removed; written anew without the erased samples; or moved aside, where it still exists."""


class Scanned(Part):
    """A place that was searched."""

    what: Text
    """The place, in words."""
    objects: NonNegativeInt
    """How many were looked at."""


class Scan(Part):
    """The search of every store after the purge."""

    places: Annotated[tuple[Scanned, ...], Field(min_length=1)]
    """All places that were searched."""
    found: Literal[0]
    """Objects that should have been gone. With a single one no request is completed."""


class Purge(Part):
    """What was done to the stores, and the search afterwards."""

    objects: tuple[Purged, ...]
    """Each thing that held what had to go; empty where nothing did."""
    scan: Scan
    """What was searched afterwards."""


class LedgerHead(Part):
    """The ledger's last event when this document was written; its hash covers all events up to it."""

    number: PositiveInt
    """Of the event."""
    hash: Sha256
    """Of the event and, through its predecessor's hash, of all before it."""


def _conditions(schema: dict[str, Any]) -> None:
    """`Document._complete` in the words of JSON Schema."""

    def rule(outcomes: Iterable[str], names: Iterable[str], condition: dict[str, Any]) -> dict[str, Any]:
        properties: dict[str, Any] = {}
        for name in names:
            outer, _, inner = name.partition(".")
            properties[outer] = {"properties": {inner: condition}} if inner else condition
        given = {"request": {"properties": {"outcome": {"enum": list(outcomes)}}}}
        return {"if": {"properties": given}, "then": {"properties": properties}}

    given, null = {"not": {"type": "null"}}, {"type": "null"}
    schema["allOf"] = [
        rule(CHANGED, OF_A_CHANGE, given),
        rule(["not trained", "already erased", "not present"], OF_A_CHANGE, null),
        rule(ERASED, OF_AN_ERASURE, given),
        rule(["not present"], OF_AN_ERASURE, null),
    ]


class Document(Part):
    """Evidence of one completed deletion request: what was asked, done and measured."""

    model_config = ConfigDict(json_schema_extra=_conditions)

    format: Literal["qunlearn deletion evidence"]
    """What kind of document this is."""
    version: Literal["1"]
    """Of the format."""
    request: Request
    """What was asked, and what became of it."""
    batch: Batch
    """What it was carried out together with."""
    tool: Tool
    """Which program acted."""
    digests: Digests
    """What went in, and what was written."""
    model: ModelChange | None
    """The served model before and since. Null where the served model did not change."""
    method: Method | None
    """How the new model was made. Null where the served model did not change."""
    metrics: Annotated[tuple[Metric, ...], Field(min_length=1)] | None
    """Figures of both models. Null where the served model did not change."""
    gates: Annotated[tuple[Gate, ...], Field(min_length=1)] | None
    """Conditions on the new model. Null where the served model did not change."""
    attempts: tuple[Attempt, ...]
    """Methods that were tried before the one that made the new model."""
    verdict: Text
    """The decision and its reason, in words."""
    purge: Purge | None
    """What was removed from the stores. Null where nothing of the request was there."""
    outside_custody: Annotated[tuple[Text, ...], Field(min_length=1)]
    """Where copies may be that this program cannot reach."""
    ledger: LedgerHead
    """Where the ledger stood."""
    limits: Annotated[tuple[Text, ...], Field(min_length=1)]
    """What this document does not prove."""

    @model_validator(mode="after")
    def _complete(self) -> Document:
        outcome = self.request.outcome
        wrong = [name for name in OF_A_CHANGE if self._has(name) != (outcome in CHANGED)]
        if outcome in (*ERASED, "not present"):
            wrong += [name for name in OF_AN_ERASURE if self._has(name) != (outcome in ERASED)]
        if outcome not in CHANGED and self.attempts:
            wrong.append("attempts")
        if wrong:
            raise ValueError(f"with the outcome {outcome!r} missing, or there but out of place: {', '.join(wrong)}")
        return self

    @model_validator(mode="after")
    def _released_by_its_gates(self) -> Document:
        failed = [gate.name for gate in self.gates or () if gate.binding and not gate.passed]
        if failed:
            raise ValueError(f"a model that fails binding gates is not served: {', '.join(failed)}")
        return self

    @model_validator(mode="after")
    def _one_story(self) -> Document:
        if self.model is None or self.method is None:
            return self
        before, after, parents = self.model.before, self.model.after, self.method.parents
        if self.request.outcome == "retrained":
            if parents:
                raise ValueError("a retrained model has no parents")
            return self
        if not parents or parents[-1].weights != before.weights:
            raise ValueError("the last parent of an unlearned model must be the model served before")
        if after.training_samples > before.training_samples - self.request.counts.trained_on:
            raise ValueError("an unlearned model keeps at most its parent's training samples without the request's")
        return self

    def _has(self, name: str) -> bool:
        outer, _, inner = name.partition(".")
        part = getattr(self, outer)
        return (getattr(part, inner) if inner else part) is not None
