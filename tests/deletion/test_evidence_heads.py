"""A ledger that lacks what signed evidence names was put back or exchanged; legitimate ledgers are taken."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from deletion import evidence_examples as examples

from qunlearn.deletion import evidence as e
from qunlearn.deletion import evidence_heads, signing
from qunlearn.deletion.ledger import Asked, Ledger, LedgerError

Make = Callable[..., Asked]


@pytest.fixture(autouse=True)
def key(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The project trusts the key of the examples."""
    monkeypatch.setenv(signing.VARIABLE, examples.key_text())
    signing.SigningKey.load(folder)


def store(folder: Path, *, number: int, digest: str, name: str = examples.REQUEST, signer: int = 1) -> Path:
    """Evidence that names a head, signed with one of the examples' keys."""
    request = examples.parts()["request"].model_copy(update={"id": name})
    document = examples.document(request=request, ledger=e.LedgerHead(number=number, hash=digest))
    return e.write_evidence(folder, e.sign(document, examples.key(signer)), "page")


def test_a_ledger_with_all_named_heads_is_taken_whatever_came_after(ledger: Ledger, folder: Path, asked: Make) -> None:
    ledger.check_intact()
    for number in range(3):
        ledger.add(asked())
        store(folder, number=number + 1, digest=ledger.head()[1], name=f"r-{number:016x}")
    # As after a run that was killed between its evidence and the ledger's next event.
    ledger.check_intact()
    ledger.add(asked())
    ledger.check_intact()


def test_a_ledger_without_a_named_event_is_an_old_copy(ledger: Ledger, folder: Path, asked: Make) -> None:
    ledger.add(asked())
    store(folder, number=1, digest=ledger.head()[1], name="r-0000000000000001")
    store(folder, number=7, digest=examples.sha("7"), name="r-0000000000000007")
    store(folder, number=9, digest=examples.sha("9"), name="r-0000000000000009")
    with pytest.raises(LedgerError) as refused:
        ledger.check_intact()
    told = str(refused.value)
    assert "its last event is 1, and it lacks event 9" in told
    assert "r-0000000000000009" in told
    assert "move the documents that it lacks to .qunlearn/evidence/earlier" in told
    assert told.endswith(": r-0000000000000009, r-0000000000000007")
    assert ledger.verify() is None


def test_a_ledger_with_another_event_of_that_number_is_anothers(ledger: Ledger, folder: Path, asked: Make) -> None:
    ledger.add(asked())
    store(folder, number=1, digest=examples.sha("another"))
    with pytest.raises(LedgerError, match="another project's"):
        ledger.check_intact()


def test_evidence_that_was_moved_as_advised_is_no_hindrance(ledger: Ledger, folder: Path, asked: Make) -> None:
    ledger.add(asked())
    file = store(folder, number=7, digest=examples.sha("7"))
    earlier = folder / evidence_heads.EARLIER
    earlier.mkdir()
    file.rename(earlier / file.name)
    ledger.check_intact()


def test_only_signed_evidence_speaks_against_a_ledger(ledger: Ledger, folder: Path, asked: Make) -> None:
    ledger.add(asked())
    store(folder, number=7, digest=examples.sha("7"), signer=2)
    (folder / evidence_heads.FOLDER / "r-0000000000000002.json").write_text("nothing")
    file = store(folder, number=1, digest=ledger.head()[1], name="r-0000000000000003")
    file.write_bytes(file.read_bytes().replace(b'"number":1}', b'"number":8}'))
    assert len(list(evidence_heads.named_heads(folder))) == 2
    ledger.check_intact()


def test_text_in_a_document_is_not_taken_for_its_head(folder: Path) -> None:
    spelled = '"ledger":{"hash":"' + "0" * 64 + '","number":99}'
    document = examples.document(verdict=spelled, attempts=())
    e.write_evidence(folder, e.sign(document, examples.key()), "page")
    (named,) = evidence_heads.named_heads(folder)
    assert (named.number, named.hash) == (document.ledger.number, document.ledger.hash)


def test_the_head_lies_in_the_part_that_is_read_however_much_was_purged(folder: Path) -> None:
    document = examples.document(purge=examples.purge(20_000))
    file = e.write_evidence(folder, e.sign(document, examples.key()), "page")
    assert file.stat().st_size > 10 * evidence_heads.BEGINNING
    (named,) = evidence_heads.named_heads(folder)
    assert named.number == document.ledger.number


def test_no_signature_is_looked_at_where_the_ledger_agrees(
    ledger: Ledger, folder: Path, asked: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    ledger.add(asked())
    store(folder, number=1, digest=ledger.head()[1])
    monkeypatch.setattr(signing.PublicKey, "fits", lambda *_: pytest.fail("a signature was checked"))
    ledger.check_intact()


def test_a_pipe_in_the_folder_is_told_and_not_waited_for(ledger: Ledger, folder: Path) -> None:
    (folder / evidence_heads.FOLDER).mkdir(parents=True)
    os.mkfifo(folder / evidence_heads.FOLDER / "r-0000000000000001.json")
    with pytest.raises(LedgerError, match=r"\.qunlearn/evidence cannot be read: is no regular file"):
        ledger.check_intact()
