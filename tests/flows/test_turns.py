"""Flows that work on the served model wait for each other."""

from __future__ import annotations

import threading

import pytest
from filelock import Timeout
from prefect.exceptions import ObjectNotFound
from prefect.logging import disable_run_logger
from prefect.settings import PREFECT_API_URL, temporary_settings

from flows import turns
from flows.holding import lock
from flows.servers import LIMIT
from flows.turns import TurnError, in_turn

pytestmark = pytest.mark.usefixtures("without_server")


class Client:
    """Stands in for Prefect's, of a server that lacks the limit or has it."""

    def __init__(self, has):
        self.has = has

    def __enter__(self):
        return self

    def __exit__(self, *_):
        return None

    def read_global_concurrency_limit_by_name(self, name):
        if not self.has:
            raise ObjectNotFound(Exception(name))


def test_whoever_has_the_turn_keeps_others_away_and_gives_it_back(tmp_path):
    with in_turn(tmp_path), pytest.raises(Timeout):
        lock(tmp_path).acquire(timeout=0)
    with pytest.raises(RuntimeError), in_turn(tmp_path):
        raise RuntimeError
    lock(tmp_path).acquire(timeout=0)


def test_the_next_one_waits(tmp_path):
    entered = threading.Event()

    def wait():
        with disable_run_logger(), in_turn(tmp_path):
            entered.set()

    with in_turn(tmp_path):
        thread = threading.Thread(target=wait)
        thread.start()
        assert not entered.wait(1)
    assert entered.wait(10)
    thread.join()


def test_on_a_server_its_limit_is_held_strictly_and_with_a_lease(tmp_path, monkeypatch):
    asked = []

    class Held:
        def __init__(self, *names, **options):
            asked.append((names, options))

        __enter__, __exit__ = Client.__enter__, Client.__exit__

    monkeypatch.setattr(turns, "concurrency", Held)
    monkeypatch.setattr(turns, "get_client", lambda **_: Client(True))
    with temporary_settings({PREFECT_API_URL: "http://127.0.0.1:1/api"}), in_turn(tmp_path):
        pass
    assert asked == [((LIMIT,), {"occupy": 1, "strict": True, "lease_duration": turns.LEASE_SECONDS})]


def test_a_server_without_the_limit_is_told_with_the_command_that_makes_it(tmp_path, monkeypatch):
    monkeypatch.setattr(turns, "get_client", lambda **_: Client(False))
    with (
        temporary_settings({PREFECT_API_URL: "http://127.0.0.1:1/api"}),
        pytest.raises(TurnError, match=rf"`prefect gcl create {LIMIT} --limit 1`"),
        in_turn(tmp_path),
    ):
        pytest.fail("nobody may have the turn")
    lock(tmp_path).acquire(timeout=0)
