"""Take work from the ledger, keep hold of it, give it back."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from prefect import get_run_logger, task
from prefect.cache_policies import NO_CACHE

from qunlearn.deletion.claims import LEASE
from qunlearn.deletion.counted import counted
from qunlearn.deletion.journal import TAKEN_OVER
from qunlearn.deletion.ledger import Batch, LostClaimError, State, UnavailableError, Worker
from tasks.deletion.service import Service
from tasks.tracking.outages import outages_told
from tasks.tracking.writable import check_writable


@task(name="claim", cache_policy=NO_CACHE)
@outages_told()
def claim_batch(params_file: str) -> Batch | None:
    """An unfinished batch whose worker has ended, or all requests that wait; None where there is nothing to do.

    Runs in the store that a killed worker left RUNNING are marked on the way.

    Raises:
        LedgerError: the ledger does not fit its own events; nothing is done with one that somebody has changed.
        BusyError: another worker holds the open batch.
        OutageError: the store cannot be used; nothing is claimed for work that could not be recorded.
        ConfigError: no model is served yet; the requests wait, and can still be cancelled.
    """
    service = Service.open(params_file)
    # Again: it may be long ago that the flow began to wait for its turn.
    service.ledger.check_intact()
    check_writable(service.store.connection)
    if service.ledger.requests(states=[State.RECEIVED]):
        service.champion()
    service.store.mark_orphans()
    batch = service.ledger.claim(Worker.current())
    if batch is not None:
        logger = get_run_logger()
        last = next(event for event in reversed(service.ledger.events()) if event.batch == batch.id)
        if last.kind == TAKEN_OVER:
            logger.info("batch %s was left unfinished by another run, and is taken over", batch.id)
        logger.info("batch %s: %s, %s", batch.id, counted(len(batch.requests), "request"), batch.state)
    return batch


@task(name="give back", cache_policy=NO_CACHE)
@outages_told()
def give_back(params_file: str, batch: Batch, reason: str) -> None:
    """Let the batch's requests wait again; nothing that is served has changed."""
    Service.open(params_file).ledger.advance(batch, State.RECEIVED, reason=reason)
    get_run_logger().warning("batch %s was given back: %s", batch.id, reason)


@contextmanager
def kept(params_file: str, batch: Batch) -> Iterator[None]:
    """Signs of life while the block runs, so that a step may take longer than a lease.

    A sign that cannot be given is no error here: the next change of state will find out who holds the batch.
    """
    ended = threading.Event()
    ledger = Service.open(params_file).ledger

    def renew() -> None:
        while not ended.wait(LEASE.total_seconds() / 4):
            try:
                ledger.renew(batch)
            except LostClaimError:
                return
            except UnavailableError:
                continue

    thread = threading.Thread(target=renew, name="claim", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
