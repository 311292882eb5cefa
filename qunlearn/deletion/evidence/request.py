"""What was asked, and what became of it."""

from __future__ import annotations

from datetime import date
from typing import Literal

from pydantic import NonNegativeInt, PositiveInt, model_validator

from qunlearn.deletion.evidence.fields import BatchId, Moment, Outcome, Part, RequestId, Sha256


class Counts(Part):
    """Samples that the request names."""

    asked: PositiveInt
    """Different names in the request: known and unknown."""
    known: NonNegativeInt
    """Names of samples that the project has, or had until it erased them."""
    unknown: NonNegativeInt
    """Names of no sample of the project."""
    already_erased: NonNegativeInt
    """Known samples that an earlier request had erased."""
    trained_on: NonNegativeInt
    """Known samples among the training data of the model that was served until then."""

    @model_validator(mode="after")
    def _add_up(self) -> Counts:
        if self.known + self.unknown != self.asked:
            raise ValueError("known and unknown must add up to asked")
        if max(self.already_erased, self.trained_on) > self.known:
            raise ValueError("already_erased and trained_on cannot be more than known")
        return self


class Request(Part):
    """The request. People are there as keyed hashes only, and unknown names only in a digest of their keyed hashes."""

    id: RequestId
    """Its name in the ledger: random, it says nothing about a person."""
    kind: Literal["sample", "group", "class", "file"]
    """How the samples were named: by their ids, their subject, their class, or a file of names."""
    outcome: Outcome
    """What became of the request."""
    received: Moment
    """When it came in."""
    due: date
    """The last day to carry it out."""
    completed: Moment
    """When this document was written: all work was done, only the ledger's last event was still to come."""
    counts: Counts
    """How many samples it names."""
    samples: Sha256 | None
    """Digest of the ids of the known samples; null where none is known."""
    unknown_names: Sha256 | None
    """Digest of the keyed hashes of the unknown names; null where there are none."""
    subject: Sha256 | None
    """Keyed hash (HMAC-SHA256) of the person; null where none was named."""
    reference: Sha256 | None
    """Keyed hash of the reference under which the request was passed on; null where none was given."""

    @model_validator(mode="after")
    def _digests_have_content(self) -> Request:
        there = (self.samples is not None, self.unknown_names is not None)
        if there != (self.counts.known > 0, self.counts.unknown > 0):
            raise ValueError("samples and unknown_names are given exactly where their counts are above 0")
        return self

    @model_validator(mode="after")
    def _outcome_fits(self) -> Request:
        known, erased, trained = self.counts.known, self.counts.already_erased, self.counts.trained_on
        fits = {
            "unlearned": trained > 0,
            "retrained": trained > 0,
            "not trained": trained == 0 and known > erased,
            "already erased": trained == 0 and known == erased > 0,
            "not present": known == 0,
        }
        if not fits[self.outcome]:
            raise ValueError(f"the outcome {self.outcome!r} contradicts the counts")
        return self


class Batch(Part):
    """The requests that were carried out together. Method, figures and gates are about all their samples at once."""

    id: BatchId
    """Its name in the ledger."""
    requests: PositiveInt
    """How many there were."""
