"""Who may work on a batch, and how it goes over to another worker."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from qunlearn.deletion.claims import LEASE
from qunlearn.deletion.ledger import (
    Asked,
    Batch,
    BusyError,
    Ledger,
    LedgerError,
    LostClaimError,
    Outcome,
    State,
    Worker,
)

if TYPE_CHECKING:
    from postgres_server import Server

    from tests.deletion.conftest import Clock

Make = Callable[..., Asked]
ONE, TWO = Worker("elsewhere", 7, "boot:1:7"), Worker("elsewhere", 8, "boot:1:8")


def claimed(ledger: Ledger, worker: Worker = ONE) -> Batch:
    batch = ledger.claim(worker)
    assert batch is not None
    return batch


@pytest.fixture
def timed(folder: Path, clock: Clock, asked: Make) -> Ledger:
    """A ledger with one request, whose time is the test's."""
    made = Ledger.open(root=folder)
    made.add(asked())
    return made


def test_without_requests_there_is_nothing_to_claim(ledger: Ledger, asked: Make) -> None:
    assert ledger.claim(ONE) is None
    ledger.cancel(ledger.add(asked()).id, "withdrawn")
    assert ledger.claim(ONE) is None
    assert ledger.head()[0] == 2


def test_a_claim_takes_all_that_was_received_in_the_order_of_arrival(ledger: Ledger, asked: Make) -> None:
    added = [ledger.add(asked(f"s{number}")) for number in range(5)]
    ledger.cancel(added[2].id, "withdrawn")
    batch = claimed(ledger)
    assert [one.id for one in batch.requests] == [one.id for one in added if one != added[2]]
    assert {(one.state, one.batch) for one in batch.requests} == {(State.CLAIMED, batch.id)}
    assert (batch.state, batch.facts, batch.worker) == (State.CLAIMED, {}, str(ONE))
    assert ledger.requests(states=[State.CLAIMED]) == list(batch.requests)
    event = ledger.events()[-1]
    assert (event.kind, event.batch, list(event.requests)) == ("claimed", batch.id, sorted(event.requests))
    assert event.payload == {"token": batch.token, "worker": str(ONE)}


def test_while_one_works_another_is_told_who(ledger: Ledger, asked: Make) -> None:
    ledger.add(asked())
    batch = claimed(ledger)
    late = ledger.add(asked())
    head = ledger.head()
    with pytest.raises(BusyError, match=f"batch {batch.id} is being carried out by process 7 on elsewhere"):
        ledger.claim(TWO)
    assert ledger.head() == head
    ledger.renew(batch)
    assert ledger.request(late.id).state is State.RECEIVED
    ledger.advance(batch, State.COMPLETED, outcome={batch.requests[0].id: Outcome.NOT_PRESENT})
    assert [one.id for one in claimed(ledger, TWO).requests] == [late.id]


def test_a_batch_goes_over_when_its_lease_has_run_out(timed: Ledger, clock: Clock) -> None:
    batch = timed.advance(claimed(timed), State.UNLEARNED, facts={"method": "oeu"})
    clock.move(seconds=LEASE.total_seconds() - 1)
    with pytest.raises(BusyError):
        timed.claim(TWO)
    clock.move(seconds=1)
    taken = claimed(timed, TWO)
    assert (taken.id, taken.worker, taken.state) == (batch.id, str(TWO), State.UNLEARNED)
    assert (taken.facts, taken.requests) == ({"method": "oeu"}, batch.requests)
    assert taken.token != batch.token
    event = timed.events()[-1]
    assert (event.kind, event.requests, event.batch) == ("taken over", {}, batch.id)
    assert event.payload == {"token": taken.token, "worker": str(TWO), "from": str(ONE), "why": "lease ran out"}
    clock.move(seconds=LEASE.total_seconds() - 1)
    with pytest.raises(BusyError, match=r"ends at 2026-11-21T09:20:00\.000000"):
        timed.claim(ONE)
    assert timed.verify() is None


@pytest.mark.parametrize("sign", ["renew", "advance", "idle"])
def test_a_sign_of_life_makes_the_lease_longer(timed: Ledger, clock: Clock, sign: str) -> None:
    batch = claimed(timed)
    clock.move(seconds=500)
    if sign == "renew":
        timed.renew(batch)
    elif sign == "advance":
        timed.advance(batch, State.UNLEARNED)
    else:
        timed.advance(batch, State.CLAIMED)
    clock.move(seconds=599)
    with pytest.raises(BusyError):
        timed.claim(TWO)
    clock.move(seconds=1)
    assert claimed(timed, TWO).id == batch.id


def test_the_time_of_a_lease_can_be_chosen(folder: Path, clock: Clock, asked: Make) -> None:
    ledger = Ledger.open(root=folder, lease=timedelta(seconds=5))
    ledger.add(asked())
    batch = claimed(ledger)
    clock.move(seconds=5)
    assert claimed(ledger, TWO).id == batch.id


def test_a_batch_of_a_worker_that_is_gone_goes_over_at_once(
    ledger: Ledger, asked: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    ledger.add(asked())
    batch = claimed(ledger)
    monkeypatch.setattr("qunlearn.deletion.claims.is_gone", lambda worker: worker == ONE)
    taken = claimed(ledger, TWO)
    assert taken.id == batch.id
    assert ledger.events()[-1].payload["why"] == "worker gone"


def test_a_worker_that_begins_anew_gets_its_batch_back(ledger: Ledger, asked: Make) -> None:
    ledger.add(asked())
    batch, again = claimed(ledger), claimed(ledger)
    assert (again.id, again.requests) == (batch.id, batch.requests)
    assert again.token != batch.token
    assert ledger.events()[-1].payload["why"] == "same worker"
    with pytest.raises(LostClaimError):
        ledger.advance(batch, State.UNLEARNED)
    ledger.advance(again, State.UNLEARNED)


def test_who_lost_the_claim_changes_nothing_more(timed: Ledger, clock: Clock) -> None:
    lost = claimed(timed)
    clock.move(seconds=601)
    taken = claimed(timed, TWO)
    head = timed.head()
    for call in (
        lambda: timed.advance(lost, State.UNLEARNED),
        lambda: timed.advance(lost, State.CLAIMED, facts={"a": 1}),
        lambda: timed.advance(lost, State.RECEIVED),
        lambda: timed.note(lost, "gate failed", {}),
        lambda: timed.renew(lost),
    ):
        with pytest.raises(LostClaimError, match=f"batch {lost.id} was taken over by another worker"):
            call()
    assert timed.head() == head
    assert timed.batch(lost.id) == taken
    clock.move(seconds=600)
    # Neither did the attempts make anybody's lease longer.
    assert claimed(timed, ONE).id == lost.id


def test_a_lease_from_the_future_ends_one_lease_from_now(timed: Ledger, clock: Clock) -> None:
    batch = claimed(timed)
    clock.move(days=-365)
    with pytest.raises(BusyError, match=r"2025-11-21T09:10:00\.000000\+00:00"):
        timed.claim(TWO)
    clock.move(seconds=600)
    assert claimed(timed, TWO).id == batch.id
    assert timed.verify() is None


def test_a_batch_that_is_not_in_the_ledger_is_refused(ledger: Ledger, asked: Make) -> None:
    ledger.add(asked())
    batch = claimed(ledger)
    with pytest.raises(LedgerError, match="there is no batch b-0000000000000000 in this ledger"):
        ledger.renew(replace(batch, id="b-0000000000000000"))


@pytest.mark.servers
def test_the_clock_of_the_server_decides_about_leases(
    postgres: Server, folder: Path, asked: Make, clock: Clock
) -> None:
    ledger = Ledger.open(postgres.new_place(), root=folder)
    clock.move(days=-5000)
    assert ledger.add(asked()).received_at > clock.now + timedelta(days=1000)
    claimed(ledger)
    clock.move(days=10_000)
    with pytest.raises(BusyError):
        ledger.claim(TWO)
    assert ledger.verify() is None
