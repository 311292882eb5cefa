"""Changes of state of a batch and its requests, and its facts."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from qunlearn.deletion.ledger import Asked, Batch, Ledger, LedgerError, Outcome, State, TransitionError, Worker

Make = Callable[..., Asked]
WORKER = Worker("elsewhere", 7, "boot:1:7")
WAY = (State.UNLEARNED, State.VERIFIED, State.PROMOTED, State.PURGED)


@pytest.fixture
def batch(ledger: Ledger, asked: Make) -> Batch:
    """Three requests, claimed."""
    for name in "abc":
        ledger.add(asked(name))
    return claimed(ledger)


def claimed(ledger: Ledger) -> Batch:
    made = ledger.claim(WORKER)
    assert made is not None
    return made


def ids(batch: Batch) -> list[str]:
    return [one.id for one in batch.requests]


def all_with(batch: Batch, outcome: Outcome) -> dict[str, Outcome]:
    return dict.fromkeys(ids(batch), outcome)


def states(batch: Batch) -> list[State]:
    return [one.state for one in batch.requests]


def test_the_whole_way(ledger: Ledger, batch: Batch) -> None:
    for number, state in enumerate(WAY):
        batch = ledger.advance(batch, state, facts={state: number, "last": str(state)})
        assert (batch.state, set(states(batch))) == (state, {state})
        event = ledger.events()[-1]
        assert (event.kind, event.batch, sorted(event.requests)) == (state, batch.id, sorted(ids(batch)))
        assert event.payload == {"facts": {state: number, "last": str(state)}}
    batch = ledger.advance(batch, State.COMPLETED, outcome=all_with(batch, Outcome.UNLEARNED))
    assert (batch.state, {one.outcome for one in batch.requests}) == (State.COMPLETED, {Outcome.UNLEARNED})
    assert batch.facts == {"unlearned": 0, "verified": 1, "promoted": 2, "purged": 3, "last": "purged"}
    assert ledger.batch(batch.id) == batch
    assert ledger.requests() == list(batch.requests)
    assert ledger.head()[0] == 3 + 1 + len(WAY) + 1
    assert ledger.claim(WORKER) is None
    assert ledger.verify() is None


def test_requests_of_a_batch_may_go_different_ways(ledger: Ledger, batch: Batch) -> None:
    absent, untrained, trained = ids(batch)
    batch = ledger.advance(batch, State.COMPLETED, only=[absent], outcome={absent: Outcome.NOT_PRESENT})
    assert (batch.state, states(batch)) == (State.CLAIMED, [State.COMPLETED, State.CLAIMED, State.CLAIMED])
    batch = ledger.advance(batch, State.PURGED, only=[untrained])
    for state in WAY[:-1]:
        batch = ledger.advance(batch, state, only=[trained])
        assert (batch.state, states(batch)) == (state, [State.COMPLETED, State.PURGED, state])
    batch = ledger.advance(batch, State.PURGED)
    assert list(ledger.events()[-1].requests) == [trained]
    outcome = {untrained: Outcome.NOT_TRAINED, trained: Outcome.RETRAINED}
    batch = ledger.advance(batch, State.COMPLETED, outcome=outcome)
    assert [one.outcome for one in batch.requests] == ["not present", "not trained", "retrained"]
    assert ledger.verify() is None


@pytest.mark.parametrize("steps", [0, 1, 2])
def test_what_is_not_promoted_can_be_given_back(ledger: Ledger, batch: Batch, asked: Make, steps: int) -> None:
    for state in WAY[:steps]:
        batch = ledger.advance(batch, state)
    late = ledger.add(asked("d"))
    before = [one.id for one in batch.requests]
    batch = ledger.advance(batch, State.RECEIVED, reason="every gate failed")
    assert (batch.requests, batch.state) == ((), State.RECEIVED)
    back = ledger.requests(states=[State.RECEIVED])
    assert [one.id for one in back] == [*before, late.id]
    assert [(one.batch, one.attempts, one.reason) for one in back[:3]] == [(None, 1, "every gate failed")] * 3
    assert ledger.events()[-1].kind == "given back"
    again = claimed(ledger)
    assert (ids(again), again.id != batch.id, again.facts) == ([*before, late.id], True, {})
    assert {one.reason for one in again.requests} == {None}
    assert [one.attempts for one in again.requests] == [1, 1, 1, 0]
    assert ledger.verify() is None


def test_a_batch_stays_open_when_only_some_are_given_back(ledger: Ledger, batch: Batch) -> None:
    first, second, third = ids(batch)
    batch = ledger.advance(batch, State.RECEIVED, only=[second])
    assert (ids(batch), batch.state) == ([first, third], State.CLAIMED)
    batch = ledger.advance(batch, State.COMPLETED, only=[first], outcome={first: Outcome.ALREADY_ERASED})
    batch = ledger.advance(batch, State.RECEIVED)
    assert (ids(batch), batch.state) == ([first], State.COMPLETED)
    assert [one.id for one in claimed(ledger).requests] == [second, third]
    assert ledger.verify() is None


@pytest.mark.parametrize("steps", [3, 4])
def test_from_promotion_on_nothing_is_given_back(ledger: Ledger, batch: Batch, steps: int) -> None:
    for state in WAY[:steps]:
        batch = ledger.advance(batch, state)
    with pytest.raises(
        TransitionError, match=f"r-[0-9a-f]+: a request that is {WAY[steps - 1]} cannot become received"
    ):
        ledger.advance(batch, State.RECEIVED)
    assert ledger.batch(batch.id) == batch


def test_a_claimed_request_can_be_rejected_with_a_reason(ledger: Ledger, batch: Batch) -> None:
    first, *others = ids(batch)
    with pytest.raises(LedgerError, match="a rejected request needs a reason"):
        ledger.advance(batch, State.REJECTED, only=[first])
    batch = ledger.advance(batch, State.REJECTED, only=[first], reason="the model would keep no training data")
    assert batch.requests[0].reason == "the model would keep no training data"
    batch = ledger.advance(batch, State.REJECTED, only=others, reason="the same")
    assert (batch.state, set(states(batch))) == (State.REJECTED, {State.REJECTED})
    assert ledger.claim(WORKER) is None


def test_one_request_that_cannot_go_there_holds_back_all(ledger: Ledger, batch: Batch) -> None:
    first, *_ = ids(batch)
    batch = ledger.advance(batch, State.PURGED, only=[first])
    head = ledger.head()
    with pytest.raises(TransitionError, match=f"{first}: a request that is purged cannot become unlearned"):
        ledger.advance(batch, State.UNLEARNED, facts={"method": "oeu"})
    assert (ledger.batch(batch.id), ledger.head()) == (batch, head)


def test_the_same_step_twice_happens_once(ledger: Ledger, batch: Batch) -> None:
    once = ledger.advance(batch, State.UNLEARNED, facts={"method": "oeu"})
    head = ledger.head()
    assert ledger.advance(batch, State.UNLEARNED, facts={"method": "oeu"}) == once
    assert ledger.advance(batch, State.UNLEARNED) == once
    assert ledger.head() == head
    first = ids(batch)[0]
    more = ledger.advance(once, State.UNLEARNED, only=[first], facts={"version": 3})
    assert more.facts == {"method": "oeu", "version": 3}
    event = ledger.events()[-1]
    assert (event.kind, event.requests, event.payload) == ("facts", {}, {"facts": {"version": 3}})
    assert ledger.verify() is None


def test_a_fact_of_another_type_is_another_fact(ledger: Ledger, batch: Batch) -> None:
    """In Python 1 == 1.0 == True."""
    for value in (1, True, 1.0):
        batch = ledger.advance(batch, State.CLAIMED, facts={"fact": value})
        assert (batch.facts["fact"], type(batch.facts["fact"])) == (value, type(value))
    assert ledger.head()[0] == 4 + 3


@pytest.mark.parametrize("value", [math.nan, Path("/home/anna"), {1, 2}, "\udcff", b"anna"])
@pytest.mark.parametrize("where", ["facts", "note"])
def test_facts_and_notes_are_json(ledger: Ledger, batch: Batch, value: object, where: str) -> None:
    head = ledger.head()
    write: dict[str, Callable[[], object]] = {
        "facts": lambda: ledger.advance(batch, State.UNLEARNED, facts={"fact": value}),
        "note": lambda: ledger.note(batch, "gate", {"fact": value}),
    }
    with pytest.raises(ValueError, match="only JSON can be written to the ledger") as refused:
        write[where]()
    assert "anna" not in str(refused.value)
    assert (ledger.batch(batch.id), ledger.head()) == (batch, head)


def test_facts_are_given_back_as_json_has_them(ledger: Ledger, batch: Batch) -> None:
    facts = {"tuple": (1, 2.5), "state": State.CLAIMED, "text": "ä\0\u2028", "nested": {"x": [None, {"y": True}]}}
    known: dict[str, Any] = ledger.advance(batch, State.CLAIMED, facts=facts).facts
    assert known == {**facts, "tuple": [1, 2.5], "state": "claimed"}
    assert type(known["state"]) is str


def test_only_requests_of_the_batch_move(ledger: Ledger, batch: Batch, asked: Make) -> None:
    other = ledger.add(asked("d")).id
    with pytest.raises(LedgerError, match=f"request {other} is not in batch {batch.id}"):
        ledger.advance(batch, State.UNLEARNED, only=[other])
    with pytest.raises(LedgerError, match=f"request {other} is not in batch {batch.id}"):
        ledger.advance(
            batch, State.COMPLETED, outcome={other: Outcome.NOT_PRESENT, **all_with(batch, Outcome.UNLEARNED)}
        )
    with pytest.raises(LedgerError) as refused:
        ledger.advance(batch, State.UNLEARNED, only=["anna"])
    assert "anna" not in str(refused.value)
    assert ledger.advance(batch, State.UNLEARNED, only=[]) == batch


def test_an_outcome_is_said_when_and_only_when_a_request_is_completed(ledger: Ledger, batch: Batch) -> None:
    first, second, third = ids(batch)
    with pytest.raises(LedgerError, match=f"need an outcome .*: {third} has none"):
        ledger.advance(batch, State.COMPLETED, outcome={first: Outcome.NOT_PRESENT, second: Outcome.NOT_PRESENT})
    with pytest.raises(LedgerError, match="an outcome belongs to a completed request"):
        ledger.advance(batch, State.UNLEARNED, outcome={first: Outcome.UNLEARNED})
    with pytest.raises(LedgerError, match=f"given for request {second}, which this does not complete"):
        ledger.advance(batch, State.COMPLETED, only=[first], outcome=all_with(batch, Outcome.NOT_PRESENT))
    assert ledger.batch(batch.id) == batch
    done = ledger.advance(batch, State.COMPLETED, only=[first], outcome={first: Outcome.NOT_PRESENT})
    assert ledger.advance(batch, State.COMPLETED, only=[first], outcome={first: Outcome.NOT_PRESENT}) == done
    with pytest.raises(TransitionError, match=f"{first} is completed with another outcome"):
        ledger.advance(batch, State.COMPLETED, only=[first], outcome={first: Outcome.UNLEARNED})


def test_nothing_of_a_closed_batch_changes(ledger: Ledger, batch: Batch) -> None:
    closed = ledger.advance(batch, State.COMPLETED, outcome=all_with(batch, Outcome.NOT_PRESENT))
    head = ledger.head()
    for to in State:
        with pytest.raises(TransitionError, match=f"batch {batch.id} is closed: it is completed"):
            ledger.advance(closed, to, facts={"late": True})
    assert (ledger.batch(batch.id), ledger.head()) == (closed, head)


def test_a_note_is_an_event_that_changes_nothing(ledger: Ledger, batch: Batch) -> None:
    ledger.note(batch, "gate failed", {"gate": "utility", "facts": {"method": "oeu"}})
    assert ledger.batch(batch.id) == batch
    event = ledger.events()[-1]
    assert (event.kind, event.batch, event.requests) == ("gate failed", batch.id, {})
    assert event.payload == {"gate": "utility", "facts": {"method": "oeu"}}
    assert ledger.verify() is None


@pytest.mark.parametrize("kind", [*State, "taken over", "given back", "facts", "", "two\nlines"])
def test_a_note_does_not_look_like_another_event(ledger: Ledger, batch: Batch, kind: str) -> None:
    with pytest.raises(LedgerError, match="note"):
        ledger.note(batch, kind, {})
    assert ledger.head()[0] == 4


def test_a_reason_is_one_line(ledger: Ledger, batch: Batch) -> None:
    with pytest.raises(LedgerError, match="the reason must be one line"):
        ledger.advance(batch, State.RECEIVED, reason="two\nlines")


def test_words_may_be_plain_text(ledger: Ledger, batch: Batch) -> None:
    words: Any = "completed", dict.fromkeys(ids(batch), "not present")
    assert ledger.advance(batch, words[0], outcome=words[1]).state is State.COMPLETED
