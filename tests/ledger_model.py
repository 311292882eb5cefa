"""What a ledger should do, in plain Python: it knows nothing of SQL, events or transactions."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from typing import Any

from qunlearn.deletion.ledger import Batch, LedgerError, LostClaimError, Outcome, TransitionError, Worker

LEASE = 600
ARROWS = {
    "received": {"claimed", "rejected"},
    "claimed": {"unlearned", "purged", "completed", "received", "rejected"},
    "unlearned": {"verified", "received"},
    "verified": {"promoted", "received"},
    "promoted": {"purged"},
    "purged": {"completed"},
    "completed": set[str](),
    "rejected": set[str](),
}
FORWARD = {
    "claimed": "unlearned",
    "unlearned": "verified",
    "verified": "promoted",
    "promoted": "purged",
    "purged": "completed",
}
FINAL = {"completed", "rejected"}
ORDER = ["claimed", "unlearned", "verified", "promoted", "purged"]


@dataclass
class ModelRequest:
    due: date
    state: str = "received"
    outcome: str | None = None
    reason: str | None = None
    batch: str | None = None
    attempts: int = 0


@dataclass
class ModelBatch:
    token: str
    worker: Worker
    until: datetime
    is_open: bool = True
    facts: dict[str, Any] = field(default_factory=dict)


@dataclass
class Model:
    """What should be true."""

    now: datetime = datetime(2026, 11, 21, 9, tzinfo=UTC)
    requests: dict[str, ModelRequest] = field(default_factory=dict)
    batches: dict[str, ModelBatch] = field(default_factory=dict)
    gone: set[Worker] = field(default_factory=set)
    events: int = 0

    def members(self, batch: str) -> dict[str, ModelRequest]:
        return {name: one for name, one in self.requests.items() if one.batch == batch}

    def open_batch(self) -> str | None:
        return next((name for name, one in self.batches.items() if one.is_open), None)

    def lease(self) -> datetime:
        return self.now + timedelta(seconds=LEASE)

    def refuses_advance(
        self, handle: Batch, to: str, only: list[str] | None, outcome: dict[str, Outcome], reason: str | None
    ) -> set[type[Exception]]:
        """The errors of which one must be raised; none where the call must succeed."""
        batch, members = self.batches[handle.id], self.members(handle.id)
        if batch.token != handle.token:
            return {LostClaimError}
        if not batch.is_open:
            return {TransitionError}
        errors: set[type[Exception]] = set()
        if not set(only or ()) <= set(members) or not set(outcome) <= set(members):
            errors.add(LedgerError)
        moving = self.moving(handle, to, only)
        if any(to not in ARROWS[self.requests[name].state] for name in moving):
            errors.add(TransitionError)
        if (outcome and to != "completed") or (to == "completed" and not set(moving) <= set(outcome)):
            errors.add(LedgerError)
        for name in set(outcome) & set(members) - set(moving):
            if members[name].state != "completed":
                errors.add(LedgerError)
            elif members[name].outcome != outcome[name]:
                errors.add(TransitionError)
        if to == "rejected" and moving and reason is None:
            errors.add(LedgerError)
        return errors

    def moving(self, handle: Batch, to: str, only: list[str] | None) -> list[str]:
        members = self.members(handle.id)
        chosen = [name for name, one in members.items() if (one.state not in FINAL if only is None else name in only)]
        return [name for name in chosen if members[name].state != to]

    def advance(
        self,
        handle: Batch,
        to: str,
        only: list[str] | None,
        outcome: dict[str, Outcome],
        reason: str | None,
        facts: dict[str, Any],
    ) -> None:
        batch, moving = self.batches[handle.id], self.moving(handle, to, only)
        if moving or {**batch.facts, **facts} != batch.facts:
            self.events += 1
        for name in moving:
            one = self.requests[name]
            one.state, one.reason, one.outcome = to, reason, outcome.get(name)
            if to == "received":
                one.batch, one.attempts = None, one.attempts + 1
        batch.facts |= facts
        batch.until = self.lease()
        batch.is_open = any(one.state not in FINAL for one in self.members(handle.id).values())

    def batch_state(self, batch: str) -> str:
        states = {one.state for one in self.members(batch).values()}
        unfinished = [state for state in ORDER if state in states]
        return (
            unfinished[0]
            if unfinished
            else "completed"
            if "completed" in states
            else "rejected"
            if states
            else "received"
        )
