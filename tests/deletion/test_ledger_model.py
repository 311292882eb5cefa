"""The ledger against a model in plain Python: whatever is called in whatever order, both say the same.

The model (`ledger_model`) decides of every call whether it may succeed, and what is then true; the ledger must agree,
must be unchanged after a refusal, and must pass its own check after every call.
"""

from __future__ import annotations

import itertools
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path
from typing import Any, ClassVar

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    invariant,
    multiple,
    rule,
    run_state_machine_as_test,
)
from ledger_model import FINAL, FORWARD, LEASE, Model, ModelBatch, ModelRequest
from postgres_server import Server

from qunlearn.deletion.ledger import (
    Asked,
    Batch,
    BusyError,
    Ledger,
    LostClaimError,
    Outcome,
    Request,
    State,
    TransitionError,
    Worker,
)

WORKERS = [Worker(f"host-{number}", number, f"boot:1:{number}") for number in (1, 2, 3)]


class LedgerMachine(RuleBasedStateMachine):
    """Calls in any order. Handles of batches are kept: most of them have lost their claim by the time of use."""

    handles: Bundle[Batch] = Bundle("handles")
    names: Bundle[str] = Bundle("names")
    addresses: ClassVar[Iterator[str | None]]

    def __init__(self) -> None:
        super().__init__()
        self.model = Model()
        self.stack = ExitStack()
        memory = Path("/dev/shm")
        made = tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else None)
        self.root = Path(self.stack.enter_context(made))
        patch = self.stack.enter_context(pytest.MonkeyPatch.context())
        patch.setattr("qunlearn.deletion.ledger_database.Database.now", lambda *_: self.model.now)
        patch.setattr("qunlearn.deletion.claims.is_gone", lambda worker: worker in self.model.gone)
        self.url = next(self.addresses)
        self.reopen()

    def teardown(self) -> None:
        self.stack.close()

    @rule()
    def reopen(self) -> None:
        self.ledger = Ledger.open(self.url, root=self.root)

    @rule(target=names, days=st.integers(-2, 2))
    def add(self, days: int) -> str:
        due = date(2026, 11, 21) + timedelta(days=days)
        made = self.ledger.add(Asked("sample", ("a", "b"), (), None, None, due))
        self.model.requests[made.id] = ModelRequest(due)
        self.model.events += 1
        return made.id

    @rule(name=names, reason=st.sampled_from(["withdrawn", "a mistake"]))
    def cancel(self, name: str, reason: str) -> None:
        one = self.model.requests[name]
        if one.state != "received":
            with pytest.raises(TransitionError):
                self.ledger.cancel(name, reason)
            return
        self.ledger.cancel(name, reason)
        one.state, one.reason = "rejected", reason
        self.model.events += 1

    @rule(target=handles, worker=st.sampled_from(WORKERS))
    def claim(self, worker: Worker) -> Any:
        model, name = self.model, self.model.open_batch()
        if name is not None:
            return self.take_over(worker, name)
        waiting = [name for name, one in model.requests.items() if one.state == "received"]
        made = self.ledger.claim(worker)
        if not waiting:
            assert made is None
            return multiple()
        assert made is not None
        assert made.id not in model.batches
        assert [one.id for one in made.requests] == waiting
        model.batches[made.id] = ModelBatch(made.token, worker, model.lease())
        for one in waiting:
            model.requests[one] = replace(model.requests[one], state="claimed", batch=made.id, reason=None)
        model.events += 1
        return made

    def take_over(self, worker: Worker, name: str) -> Any:
        model, batch = self.model, self.model.batches[name]
        if batch.worker != worker and batch.worker not in model.gone and batch.until > model.now:
            with pytest.raises(BusyError, match=name):
                self.ledger.claim(worker)
            batch.until = min(batch.until, model.lease())
            return multiple()
        made = self.ledger.claim(worker)
        assert made is not None
        assert made.id == name
        assert made.token not in {one.token for one in model.batches.values()}
        batch.token, batch.worker, batch.until = made.token, worker, model.lease()
        model.events += 1
        return made

    @rule(handle=handles, data=st.data())
    def advance_anyhow(self, handle: Batch, data: st.DataObject) -> None:
        """Mostly refused: any state, any requests, any outcomes."""
        every = list(self.model.requests)
        only = data.draw(st.none() | st.lists(st.sampled_from(every), unique=True), "only")
        outcome = data.draw(st.just({}) | st.dictionaries(st.sampled_from(every), st.sampled_from(Outcome)), "outcome")
        to, reason = data.draw(st.sampled_from(State), "to"), data.draw(st.sampled_from([None, "because"]), "reason")
        facts = data.draw(st.dictionaries(st.sampled_from("xy"), st.sampled_from([1, 2, None, [3]])), "facts")
        self.advance(handle, to, only, outcome, reason, facts)

    @rule(handle=handles, data=st.data(), fact=st.sampled_from([1, 2]))
    def advance_on_the_way(self, handle: Batch, data: st.DataObject, fact: int) -> None:
        """Mostly allowed: the next state of the batch, for all or some of the requests that are in its present one."""
        state = self.model.batch_state(handle.id)
        here = [name for name, one in self.model.members(handle.id).items() if one.state == state]
        some = data.draw(st.booleans(), "some") and here
        only = data.draw(st.lists(st.sampled_from(here), unique=True, min_size=1), "only") if some else here
        to = State(FORWARD.get(state, "completed"))
        outcome = dict.fromkeys(only, Outcome.UNLEARNED) if to == "completed" else {}
        self.advance(handle, to, only, outcome, None, {"x": fact})

    @rule(handle=handles, to=st.sampled_from([State.RECEIVED, State.PURGED, State.REJECTED, State.COMPLETED]))
    def advance_all(self, handle: Batch, to: State) -> None:
        """Give back, shortcut, reject, complete: all requests that are not finished."""
        unfinished = [name for name, one in self.model.members(handle.id).items() if one.state not in FINAL]
        outcome = dict.fromkeys(unfinished, Outcome.NOT_PRESENT) if to == "completed" else {}
        self.advance(handle, to, None, outcome, "because", {})

    def advance(
        self,
        handle: Batch,
        to: State,
        only: list[str] | None,
        outcome: dict[str, Outcome],
        reason: str | None,
        facts: dict[str, Any],
    ) -> None:
        errors = self.model.refuses_advance(handle, to, only, outcome, reason)
        if errors:
            with pytest.raises(tuple(errors)):
                self.ledger.advance(handle, to, only=only, outcome=outcome, reason=reason, facts=facts)
            return
        after = self.ledger.advance(handle, to, only=only, outcome=outcome, reason=reason, facts=facts)
        self.model.advance(handle, to, only, outcome, reason, facts)
        assert after == self.ledger.batch(handle.id)

    @rule(handle=handles)
    def note(self, handle: Batch) -> None:
        if self.model.batches[handle.id].token != handle.token:
            with pytest.raises(LostClaimError):
                self.ledger.note(handle, "gate failed", {"state": "claimed"})
            return
        self.ledger.note(handle, "gate failed", {"state": "claimed"})
        self.model.events += 1

    @rule(handle=handles)
    def renew(self, handle: Batch) -> None:
        batch = self.model.batches[handle.id]
        if batch.token != handle.token:
            with pytest.raises(LostClaimError):
                self.ledger.renew(handle)
            return
        self.ledger.renew(handle)
        batch.until = self.model.lease()

    @rule(handle=consumes(handles))
    def forget(self, handle: Batch) -> None:
        """The process that had it ended."""

    @rule(worker=st.sampled_from(WORKERS))
    def end_or_begin(self, worker: Worker) -> None:
        self.model.gone ^= {worker}

    @rule(seconds=st.sampled_from([1, LEASE - 1, LEASE, -1, -LEASE, -86_400]))
    def move_clock(self, seconds: int) -> None:
        self.model.now += timedelta(seconds=seconds)

    @invariant()
    def they_agree(self) -> None:
        found = {one.id: as_model(one) for one in self.ledger.requests()}
        assert found == self.model.requests
        assert list(found) == list(self.model.requests)
        for name, expected in self.model.batches.items():
            batch = self.ledger.batch(name)
            assert (batch.token, batch.worker, batch.facts) == (expected.token, str(expected.worker), expected.facts)
            assert batch.state == self.model.batch_state(name)
            assert [one.id for one in batch.requests] == list(self.model.members(name))
        assert sum(one.is_open for one in self.model.batches.values()) <= 1
        assert self.ledger.head()[0] == self.model.events
        assert self.ledger.verify() is None

    @invariant()
    def it_is_known_what_is_overdue(self) -> None:
        today = date(2026, 11, 21)
        late = {name for name, one in self.model.requests.items() if one.due < today and one.state not in FINAL}
        assert {one.id for one in self.ledger.overdue(today)} == late


def as_model(request: Request) -> ModelRequest:
    same = ("state", "outcome", "reason", "batch", "attempts")
    return ModelRequest(request.asked.due, **{name: getattr(request, name) for name in same})


FEW = settings(
    max_examples=20, stateful_step_count=20, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck)
)


def test_the_ledger_does_what_the_model_says() -> None:
    class InFiles(LedgerMachine):
        addresses = itertools.repeat(None)

    run_state_machine_as_test(InFiles, settings=FEW)


@pytest.mark.slow
def test_the_ledger_does_what_the_model_says_in_long_lives() -> None:
    class InFiles(LedgerMachine):
        addresses = itertools.repeat(None)

    run_state_machine_as_test(InFiles, settings=settings(FEW, max_examples=150, stateful_step_count=60))


@pytest.mark.servers
def test_the_ledger_in_postgresql_does_what_the_model_says(postgres: Server) -> None:
    class InServer(LedgerMachine):
        addresses = iter(postgres.new_place, None)

    run_state_machine_as_test(InServer, settings=settings(FEW, max_examples=10, stateful_step_count=20))
