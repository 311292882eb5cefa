"""Is a file the genuine evidence of a request? Every question is asked, as far as the answers to earlier ones allow."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from qunlearn.deletion.evidence.document import LedgerHead
from qunlearn.deletion.evidence.signed import EvidenceError, Signed, message, parse
from qunlearn.deletion.signing import PublicKey

Lookup = Callable[[int], str | None]
"""Number of an event of the ledger -> its hash; None where the ledger has no such event."""
Recorded = Callable[[str], str | None]
"""Request -> sha256 that the ledger's event `completed` has for its evidence; None where there is no such event."""


@dataclass(frozen=True)
class Finding:
    """The answer to one question.

    Args:
        ok: False for a fault.
        text: what was found, in a sentence.
    """

    ok: bool
    text: str


def verify(
    document: Signed | bytes,
    trusted: Iterable[PublicKey],
    *,
    request: str | None = None,
    ledger_head_lookup: Lookup | None = None,
    recorded: Recorded | None = None,
) -> list[Finding]:
    """Check evidence; it is genuine exactly where every finding is ok.

    Args:
        document: what the file holds, byte for byte, or what was just signed.
        trusted: the keys that a signature may come from.
        request: the request that it must be about; None for any.
        ledger_head_lookup: hash of an event in today's ledger; None leaves out the comparison with it.
        recorded: digest of the request's evidence in today's ledger; None leaves out the comparison with it.
    """
    content = document if isinstance(document, bytes) else document.content
    try:
        signed = parse(content)
    except EvidenceError as error:
        return [Finding(False, line) for line in str(error).splitlines()]
    findings = [_spelling(signed, content), _signature(signed, trusted)]
    if request is not None:
        findings.append(_request(signed, request))
    if ledger_head_lookup is not None:
        findings.append(_ledger(signed.document.ledger, ledger_head_lookup))
    if recorded is not None:
        findings.append(_completion(signed, content, recorded))
    return findings


def first_fault(findings: Iterable[Finding]) -> Finding | None:
    return next((finding for finding in findings if not finding.ok), None)


def _spelling(signed: Signed, content: bytes) -> Finding:
    if signed.content != content:
        # A spelling that means the same would leave the signature valid and the file's digest another.
        return Finding(False, "the file is not byte for byte as it was written; it was changed or formatted anew")
    return Finding(True, "the file has the form of version 1, byte for byte")


def _signature(signed: Signed, trusted: Iterable[PublicKey]) -> Finding:
    keys = {key.id: key for key in trusted}
    named = signed.signature.key
    if named not in keys:
        known = f"trusted are {', '.join(sorted(keys))}" if keys else "no key is trusted"
        return Finding(False, f"signed with the key {named}, which is not trusted; {known}")
    if not keys[named].fits(signed.raw_signature, message(signed.document)):
        return Finding(False, f"the signature does not fit: the document was changed, or not signed with key {named}")
    return Finding(True, f"signed with the trusted key {named}")


def _request(signed: Signed, request: str) -> Finding:
    found = signed.document.request.id
    if found != request:
        return Finding(False, f"the document is about another request, {found}")
    return Finding(True, f"the document is about request {found}")


def _ledger(head: LedgerHead, lookup: Lookup) -> Finding:
    today = lookup(head.number)
    if today is None:
        return Finding(False, f"the ledger has no event {head.number}, which the document names as its last")
    if today != head.hash:
        return Finding(False, f"event {head.number} of the ledger has another hash: the ledger was changed since")
    return Finding(True, f"event {head.number} of the ledger has the hash that the document names")


def _completion(signed: Signed, content: bytes, recorded: Recorded) -> Finding:
    request = signed.document.request.id
    there = recorded(request)
    if there is None:
        return Finding(
            False,
            f"the ledger has not completed request {request}: its run was cut short, and the next one writes the "
            "evidence anew",
        )
    if there != hashlib.sha256(content).hexdigest():
        return Finding(
            False, f"the ledger completed request {request} with another document: this one took its place later"
        )
    return Finding(True, f"the ledger completed request {request} with exactly this file")
