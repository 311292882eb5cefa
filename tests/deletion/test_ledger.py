"""Requests in the ledger, its events and their times. Claims, changes of state and the check have other files."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qunlearn.deletion.chain import GENESIS, digest
from qunlearn.deletion.ledger import Asked, Ledger, LedgerError, Outcome, State, TransitionError, Worker
from qunlearn.deletion.states import FINAL

if TYPE_CHECKING:
    from tests.deletion.conftest import Clock

Make = Callable[..., Asked]
WORKER = Worker("elsewhere", 7, "boot:1:7")
HASH = hashlib.sha256(b"somebody").hexdigest()


def test_a_request_is_found_as_it_was_asked(ledger: Ledger) -> None:
    asked = Asked("group", ("a", "b"), (HASH,), HASH, HASH[::-1], date(2027, 1, 31), ("näht", "1"))
    added = ledger.add(asked)
    assert re.fullmatch(r"r-[0-9a-f]{16}", added.id)
    assert added.asked == asked
    assert (added.state, added.outcome, added.reason, added.batch) == (State.RECEIVED, None, None, None)
    assert added.attempts == 0
    assert added.received_at == added.changed_at
    assert abs(datetime.now(UTC) - added.received_at) < timedelta(minutes=1)
    assert ledger.request(added.id) == added
    assert ledger.requests() == [added]


def test_requests_are_listed_in_the_order_of_their_arrival_and_by_state(ledger: Ledger, asked: Make) -> None:
    added = [ledger.add(asked(f"s{number}")) for number in range(6)]
    gone = ledger.cancel(added[3].id, "withdrawn")
    assert ledger.requests(states=[State.RECEIVED]) == [one for one in added if one.id != gone.id]
    assert ledger.requests(states=[State.REJECTED]) == [gone]
    assert ledger.requests(states=[]) == []
    assert [one.id for one in ledger.requests()] == [one.id for one in added]


@pytest.mark.parametrize("name", ["r-0123456789abcdef", "r-x", "", "anna@example.org", "b-0123456789abcdef"])
def test_an_unknown_request_is_refused_and_only_an_id_is_repeated(ledger: Ledger, name: str) -> None:
    for call in (ledger.request, lambda one: ledger.cancel(one, "why"), lambda one: ledger.events(request=one)):
        with pytest.raises(LedgerError) as refused:
            call(name)
        assert ("r-0123456789abcdef" in str(refused.value)) == (name == "r-0123456789abcdef")
        assert "anna" not in str(refused.value)


def test_only_a_received_request_can_be_cancelled(ledger: Ledger, asked: Make) -> None:
    first, second = ledger.add(asked("a")), ledger.add(asked("b"))
    cancelled = ledger.cancel(first.id, "asked by mistake")
    assert (cancelled.state, cancelled.reason) == (State.REJECTED, "asked by mistake")
    assert cancelled.changed_at >= cancelled.received_at == first.received_at
    with pytest.raises(TransitionError, match=f"{first.id} is rejected; only a received"):
        ledger.cancel(first.id, "again")
    ledger.claim(WORKER)
    with pytest.raises(TransitionError, match=f"{second.id} is claimed"):
        ledger.cancel(second.id, "too late")
    assert ledger.request(first.id) == cancelled


@pytest.mark.parametrize("reason", ["", "  ", "two\nlines", "null\0byte", "x" * 501, "\x1b[2J", "half \ud800"])
def test_a_reason_is_one_line_that_can_be_shown(ledger: Ledger, asked: Make, reason: str) -> None:
    added = ledger.add(asked())
    with pytest.raises(LedgerError, match="the reason must be one line of 1 to 500 printable characters"):
        ledger.cancel(added.id, reason)
    assert ledger.requests() == [added]
    assert ledger.head()[0] == 1


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"subject": "anna@example.org"}, "must be keyed hashes"),
        ({"reference": "anna@example.org"}, "must be keyed hashes"),
        ({"reference": ""}, "must be keyed hashes"),
        ({"unknown": (HASH, "anna@example.org")}, "must be keyed hashes"),
        ({"unknown": (HASH.upper(),)}, "must be keyed hashes"),
        ({"samples": ("a", "anna@example.org")}, "is no sample id"),
        ({"samples": ("",)}, "is no sample id"),
        ({"samples": ("../anna",)}, "is no sample id"),
        ({"kind": "anna"}, "must be one of sample, group, class, file"),
        ({"classes": ("anna\n",)}, "a class's name must be one line"),
        ({"classes": ("",)}, "a class's name must be one line"),
        ({"due": datetime(2026, 12, 21)}, "must be a date without a time of day"),
    ],
)
def test_a_person_cannot_be_written_down(ledger: Ledger, asked: Make, changed: dict[str, Any], said: str) -> None:
    with pytest.raises(LedgerError, match=said) as refused:
        ledger.add(replace(asked(), **changed))
    assert "anna" not in str(refused.value)
    assert ledger.requests() == []
    assert ledger.head() == (0, GENESIS)


@given(
    st.builds(
        Asked,
        kind=st.sampled_from(["sample", "group", "class", "file"]),
        samples=st.lists(st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,20}", fullmatch=True)).map(tuple),
        unknown=st.lists(st.from_regex(r"[0-9a-f]{64}", fullmatch=True), max_size=3).map(tuple),
        subject=st.none() | st.just(HASH),
        reference=st.none() | st.just(HASH),
        due=st.dates(),
        classes=st.lists(st.text(max_size=9).filter(lambda one: bool(one.strip()) and one.isprintable())).map(tuple),
    )
)
def test_what_was_asked_survives_being_written(asked: Asked) -> None:
    assert Asked.from_json(asked.as_json()) == asked


def test_overdue_requests_are_those_not_finished_before_today(ledger: Ledger, asked: Make) -> None:
    late = ledger.add(asked("a", due=date(2026, 11, 20)))
    ledger.add(asked("b", due=date(2026, 11, 21)))
    later = ledger.add(asked("c", due=date(2026, 10, 1)))
    cancelled = ledger.add(asked("d", due=date(2026, 10, 1)))
    ledger.cancel(cancelled.id, "withdrawn")
    assert ledger.overdue(date(2026, 11, 21)) == [later, late]
    batch = ledger.claim(WORKER)
    assert batch is not None
    assert [one.id for one in ledger.overdue(date(2026, 11, 21))] == [later.id, late.id]
    ledger.advance(batch, State.COMPLETED, only=[later.id], outcome={later.id: Outcome.NOT_PRESENT})
    assert [one.id for one in ledger.overdue(date(2026, 11, 21))] == [late.id]
    assert {State.COMPLETED, State.REJECTED} == FINAL


def test_every_change_is_one_event_that_follows_the_one_before(ledger: Ledger, asked: Make) -> None:
    assert (ledger.events(), ledger.head()) == ([], (0, GENESIS))
    first, second = ledger.add(asked("a")), ledger.add(asked("b", "c"))
    ledger.cancel(first.id, "withdrawn")
    events = ledger.events()
    assert [(one.number, one.kind, list(one.requests)) for one in events] == [
        (1, "received", [first.id]),
        (2, "received", [second.id]),
        (3, "rejected", [first.id]),
    ]
    previous = GENESIS
    for event in events:
        assert event.previous == previous
        previous = digest(previous, json.loads(event.body))
        assert event.hash == previous
    assert ledger.head() == (3, previous)
    assert [one.at for one in events[:2]] == [first.received_at, second.received_at]
    standing = {"outcome": None, "reason": "withdrawn", "batch": None, "attempts": 0, "state": "rejected"}
    assert events[2].requests == {first.id: standing}


def test_the_event_of_an_arrival_names_what_was_asked_by_its_digest(ledger: Ledger, asked: Make) -> None:
    many = asked(*(f"s{number}" for number in range(10_000)))
    ledger.add(many)
    (event,) = ledger.events()
    assert event.payload["asked"] == {
        "kind": "sample",
        "samples": 10_000,
        "unknown": 0,
        "due": "2026-12-21",
        "sha256": hashlib.sha256(many.as_json().encode()).hexdigest(),
    }
    assert len(event.body) < 1000
    assert ledger.requests()[0].asked == many


def test_a_request_sees_its_own_events_and_the_notes_on_its_batch(ledger: Ledger, asked: Make) -> None:
    early, mine, other = ledger.add(asked("a")), ledger.add(asked("b")), ledger.add(asked("c"))
    ledger.cancel(early.id, "withdrawn")
    batch = ledger.claim(WORKER)
    assert batch is not None
    ledger.note(batch, "gate failed", {"gate": "utility"})
    ledger.advance(batch, State.COMPLETED, only=[other.id], outcome={other.id: Outcome.NOT_PRESENT})
    ledger.advance(batch, State.RECEIVED, reason="every gate failed")
    again = ledger.claim(WORKER)
    assert again is not None
    assert [one.kind for one in ledger.events(request=mine.id)] == [
        "received",
        "claimed",
        "gate failed",
        "given back",
        "claimed",
    ]
    assert [one.kind for one in ledger.events(request=other.id)] == ["received", "claimed", "gate failed", "completed"]
    assert [one.kind for one in ledger.events(request=early.id)] == ["received", "rejected"]


def test_time_never_runs_backwards_and_the_event_says_when_the_clock_did(
    folder: Path, clock: Clock, asked: Make
) -> None:
    ledger = Ledger.open(root=folder)
    first = ledger.add(asked())
    clock.move(hours=-3)
    second = ledger.add(asked())
    clock.move(hours=3)
    third = ledger.add(asked())
    clock.move(microseconds=1)
    fourth = ledger.add(asked())
    assert first.received_at == second.received_at == third.received_at
    assert fourth.received_at - third.received_at == timedelta(microseconds=1)
    events = ledger.events()
    assert [one.clock for one in events] == [None, "behind", None, None]
    assert '"clock":"behind"' in events[1].body
    assert "clock" not in events[2].body
    assert json.loads(events[0].body)["at"] == "2026-11-21T09:00:00.000000+00:00"
    assert ledger.verify() is None


def test_threads_may_share_a_ledger(ledger: Ledger, asked: Make) -> None:
    with ThreadPoolExecutor(8) as pool:
        added = list(pool.map(lambda number: ledger.add(asked(f"s{number}")), range(40)))
    assert len({one.id for one in added}) == 40
    assert ledger.head()[0] == 40
    assert ledger.verify() is None


def test_another_opening_sees_the_same_ledger(url: str, ledger: Ledger, folder: Path, asked: Make) -> None:
    added = ledger.add(asked())
    other = Ledger.open(url, root=folder, must_exist=True)
    assert other.requests() == [added]
    assert other.head() == ledger.head()


def test_an_unknown_batch_is_refused(ledger: Ledger, asked: Make) -> None:
    ledger.add(asked())
    batch = ledger.claim(WORKER)
    assert batch is not None
    assert ledger.batch(batch.id) == batch
    with pytest.raises(LedgerError, match="no such batch") as refused:
        ledger.batch("anna")
    assert "anna" not in str(refused.value)
