"""The ledger knows its identity key again: another one, or none where there was one, is refused."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import sqlalchemy as sa

from qunlearn.deletion import key_check
from qunlearn.deletion.identity import FILE, VARIABLE, IdentityError, Key
from qunlearn.deletion.key_check import OtherKeyError
from qunlearn.deletion.ledger import Asked, Ledger, Worker

Make = Callable[..., Asked]
OTHER = "1" * 64


@pytest.fixture(autouse=True)
def here(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The project's ledger is the one at `url`, and no key is in the environment."""
    monkeypatch.setenv("QUNLEARN_LEDGER_URL", url)
    monkeypatch.delenv(VARIABLE, raising=False)


def test_the_check_value_is_none_of_the_hashes_and_no_key() -> None:
    key, other = Key(bytes(32)), Key(bytes(31) + b"\1")
    assert len({key.check, other.check, key.secret.hex()}) == 3
    assert key.check not in {key.hashed(purpose, "key check") for purpose in ("subject", "reference", "sample")}


def test_a_request_binds_the_ledger_to_the_key_and_the_key_is_found_again(
    ledger: Ledger, folder: Path, asked: Make
) -> None:
    key = Key.load(folder)
    assert key_check.recorded(folder) is None
    ledger.add(asked())
    assert key_check.recorded(folder) == key.check
    assert Key.load(folder) == key
    ledger.add(asked())
    assert ledger.claim(Worker.current()) is not None


def test_a_key_that_was_lost_is_not_made_anew(ledger: Ledger, folder: Path, asked: Make) -> None:
    Key.load(folder)
    ledger.add(asked())
    (folder / FILE).unlink()
    with pytest.raises(IdentityError, match=r"identity\.key is gone, .*restore it .*accept-key") as refused:
        Key.load(folder)
    assert "\n" not in str(refused.value)
    assert not (folder / FILE).exists()


def test_another_key_in_the_environment_is_refused(
    ledger: Ledger, folder: Path, asked: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    Key.load(folder)
    ledger.add(asked())
    monkeypatch.setenv(VARIABLE, OTHER)
    for refused in (lambda: Key.load(folder), lambda: ledger.add(asked()), lambda: ledger.claim(Worker.current())):
        with pytest.raises(OtherKeyError, match="the identity key in QUNLEARN_KEY is not the one") as error:
            refused()
        assert OTHER not in str(error.value)
    assert len(ledger.requests()) == 1
    monkeypatch.delenv(VARIABLE)
    assert ledger.claim(Worker.current()) is not None


def test_of_two_first_requests_with_different_keys_one_is_refused(
    url: str, folder: Path, asked: Make, tmp_path: Path
) -> None:
    roots = [folder / "a", folder / "b"]
    Ledger.open(url, root=folder)
    for root in roots:
        Key.made(root)

    def add(root: Path) -> bool:
        try:
            Ledger.open(url, root=root).add(asked())
        except OtherKeyError:
            return False
        return True

    with ThreadPoolExecutor(2) as pool:
        assert sorted(pool.map(add, roots)) == [False, True]
    assert len(Ledger.open(url, root=tmp_path).requests()) == 1


def test_another_key_can_be_accepted_and_an_event_tells_of_it(ledger: Ledger, folder: Path, asked: Make) -> None:
    Key.load(folder)
    ledger.add(asked())
    (folder / FILE).unlink()
    new = Key.made(folder)
    assert ledger.accept_key(new)
    assert not ledger.accept_key(new)
    assert Key.load(folder) == new
    ledger.add(asked())
    assert [event.kind for event in ledger.events()] == ["received", key_check.NOTE, "received"]
    assert ledger.verify() is None
    ledger.check_intact()


def test_a_ledger_of_the_first_revision_is_bound_when_it_is_used_next(
    ledger: Ledger, url: str, folder: Path, asked: Make
) -> None:
    ledger.add(asked())
    engine = sa.create_engine(url.replace("postgresql://", "postgresql+psycopg://"))
    with engine.begin() as connection:
        connection.execute(sa.text("DROP TABLE deletion_settings"))
        connection.execute(sa.text("UPDATE deletion_schema_version SET version_num = '0001'"))
    engine.dispose()
    key = Key.load(folder)
    upgraded = Ledger.open(url, root=folder, must_exist=True)
    assert (upgraded.verify(), len(upgraded.requests())) == (None, 1)
    assert upgraded.claim(Worker.current()) is not None
    assert key_check.recorded(folder) == key.check


def test_to_look_for_a_key_makes_no_ledger(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QUNLEARN_LEDGER_URL", f"sqlite:///{folder}/none/ledger.db")
    Key.load(folder)
    assert not (folder / "none").exists()
