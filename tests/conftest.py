"""Small tensors gain nothing from many threads, and results do not depend on the machine's number of cores."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    import postgres_server
    from playwright.sync_api import Browser

# Before PyTorch is imported, here and in the processes that tests start.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")

PATIENCE = 60_000
"""Milliseconds; a page that is ready earlier is not waited for."""


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """Chromium. While it is open no other test can run an event loop: tests with a browser run by themselves."""
    from browser import chromium
    from playwright.sync_api import expect, sync_playwright

    path = chromium.find()
    if path is None:
        if os.environ.get("CI"):
            pytest.fail(chromium.MISSING)
        pytest.skip(chromium.MISSING)
    expect.set_options(timeout=PATIENCE)
    options = ["--disable-dev-shm-usage", "--no-sandbox"]
    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=path, args=options, timeout=PATIENCE)
        yield opened
        opened.close()


@pytest.fixture
def only_this_project(monkeypatch: pytest.MonkeyPatch) -> None:
    """No variable of the environment leads to other stores or keys."""
    for name in ("MLFLOW_TRACKING_URI", "QUNLEARN_KEY", "QUNLEARN_LEDGER_URL"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(scope="session")
def postgres() -> Iterator[postgres_server.Server]:
    """A PostgreSQL server."""
    import postgres_server

    binaries = postgres_server.find()
    if binaries is None:
        pytest.skip(postgres_server.MISSING)
    with postgres_server.running(binaries) as server:
        yield server
