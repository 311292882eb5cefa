"""Signed evidence: whatever is changed, exchanged or missing, is found."""

from __future__ import annotations

import base64
import copy
import json

import pytest
from deletion import evidence_examples as examples
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from qunlearn.deletion import evidence as e

TRUSTED = [examples.key().public]
SIGNED = examples.signed()
CONTENT = SIGNED.content
HEAD = SIGNED.document.ledger
JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=80),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=4,
)


def faults(content, **more):
    return [finding.text for finding in e.verify(content, TRUSTED, **more) if not finding.ok]


def places(value, path=()):
    """The path of every value in a JSON document."""
    yield path
    children = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, child in children:
        yield from places(child, (*path, key))


PLACES = [path for path in places(json.loads(CONTENT)) if path]


def changed(path, value):
    """The file with another value somewhere, otherwise written as it should be."""
    content = copy.deepcopy(json.loads(CONTENT))
    parent = content
    for key in path[:-1]:
        parent = parent[key]
    assume(type(parent[path[-1]]) is not type(value) or parent[path[-1]] != value)
    parent[path[-1]] = value
    return file_of(content)


def file_of(content):
    parts = [e.canonical(content.get(name)) for name in ("document", "signature")]
    return b"\n".join([b'{"document":', parts[0], b',"signature":', parts[1], b"}\n"])


def test_what_was_signed_is_genuine():
    assert file_of(json.loads(CONTENT)) == CONTENT
    assert faults(CONTENT, request=examples.REQUEST, ledger_head_lookup={HEAD.number: HEAD.hash}.get) == []
    assert len(e.verify(CONTENT, TRUSTED, request=examples.REQUEST, ledger_head_lookup={17: HEAD.hash}.get)) == 4
    assert len(e.verify(SIGNED, TRUSTED)) == 2


def test_the_same_document_and_key_give_the_same_file():
    assert examples.signed().content == CONTENT


def test_line_two_is_what_was_signed():
    lines = CONTENT.split(b"\n")
    assert len(lines) == 6
    assert lines[5] == b""
    signature = base64.b64decode(json.loads(lines[3])["value"])
    assert examples.key().public.fits(signature, lines[1])
    assert lines[1] == e.message(SIGNED.document)


@settings(deadline=None)
@given(st.integers(0, len(CONTENT) - 1), st.integers(1, 255))
def test_any_changed_byte_is_a_fault(place, difference):
    spoiled = bytearray(CONTENT)
    spoiled[place] ^= difference
    assert faults(bytes(spoiled))


@settings(deadline=None)
@given(st.integers(0, len(CONTENT)), st.binary(min_size=1, max_size=3))
def test_any_inserted_byte_is_a_fault(place, more):
    assert faults(CONTENT[:place] + more + CONTENT[place:])


@settings(deadline=None)
@given(st.integers(0, len(CONTENT) - 1), st.integers(1, 40))
def test_any_missing_byte_is_a_fault(place, count):
    assert faults(CONTENT[:place] + CONTENT[place + count :])


@settings(deadline=None)
@given(st.sampled_from(PLACES), JSON_VALUES)
def test_any_changed_value_is_a_fault(path, value):
    assert faults(changed(path, value))


@settings(deadline=None)
@given(st.sampled_from(PLACES), st.data())
def test_a_value_from_elsewhere_in_the_document_is_a_fault(path, data):
    other = json.loads(CONTENT)
    for key in data.draw(st.sampled_from(PLACES)):
        other = other[key]
    assert faults(changed(path, other))


@pytest.mark.parametrize(
    "spelled",
    [
        json.dumps(json.loads(CONTENT), indent=2).encode(),
        json.dumps(json.loads(CONTENT)).encode(),
        CONTENT + b" ",
        CONTENT.replace(b'"number":17', b'"number":17.0'),
        CONTENT.replace(b'"number":17', b'"number":"17"'),
        CONTENT.replace(b'"number":17', b'"number":18,"number":17'),
        CONTENT.replace(b'"found":0', b'"found":false'),
        CONTENT.replace(b'"limit":0.55', b'"limit":Infinity'),
        CONTENT.replace(b"qunlearn-served", b"qunlearn-\\u0073erved"),
        CONTENT.replace(b"02:41Z", b"02:41.000Z"),
        CONTENT.replace(b"03:02:41Z", b"04:02:41+01:00"),
    ],
)
def test_another_spelling_of_the_same_is_a_fault(spelled):
    assert spelled != CONTENT
    assert faults(spelled)


@settings(deadline=None)
@given(st.binary(max_size=200))
def test_any_other_bytes_are_a_fault_and_no_error(content):
    assert faults(content)


@pytest.mark.parametrize("content", [b"[" * 100_000, b"9" * 10_000, b'{"document":' * 5_000, b"\xef\xbb\xbf" + CONTENT])
def test_malicious_json_is_a_fault_and_no_error(content):
    assert faults(content)


def test_a_key_that_is_not_trusted_is_named():
    (fault,) = [one for one in e.verify(CONTENT, [examples.key(2).public]) if not one.ok]
    assert SIGNED.signature.key in fault.text
    assert examples.key(2).public.id in fault.text
    (fault,) = [one for one in e.verify(CONTENT, []) if not one.ok]
    assert "no key is trusted" in fault.text


def test_any_of_the_trusted_keys_will_do():
    keys = [examples.key(number).public for number in (3, 1, 2)]
    assert e.first_fault(e.verify(CONTENT, keys)) is None


def test_a_signature_under_a_trusted_keys_name_must_be_that_keys():
    forged = e.sign(SIGNED.document, examples.key(2))
    signature = forged.signature.model_copy(update={"key": examples.key().public.id})
    (fault,) = faults(forged.model_copy(update={"signature": signature}))
    assert fault.startswith("the signature does not fit")


def test_the_signature_of_another_document_is_a_fault():
    other = examples.signed("retrained")
    (fault,) = faults(SIGNED.model_copy(update={"signature": other.signature}))
    assert fault.startswith("the signature does not fit")


def test_the_unused_bits_of_a_signature_are_covered_too():
    value = SIGNED.signature.value
    digits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
    for bits in (1, 2, 4, 8):
        sibling = value[:-3] + digits[digits.index(value[-3]) ^ bits] + "=="
        assert base64.b64decode(sibling) == base64.b64decode(value)
        signature = SIGNED.signature.model_copy(update={"value": sibling})
        assert faults(SIGNED.model_copy(update={"signature": signature}).content)


def test_the_document_of_another_request_is_a_fault():
    (fault,) = faults(CONTENT, request="r-ffffffffffffffff")
    assert fault == f"the document is about another request, {examples.REQUEST}"


def test_the_ledger_must_have_the_event_with_the_hash():
    (fault,) = faults(CONTENT, ledger_head_lookup=lambda _: None)
    assert fault.startswith("the ledger has no event 17")
    (fault,) = faults(CONTENT, ledger_head_lookup=lambda number: examples.sha(f"another {number}"))
    assert fault.startswith("event 17 of the ledger has another hash")


def test_the_ledger_is_asked_about_one_event():
    asked = []
    e.verify(CONTENT, TRUSTED, ledger_head_lookup=asked.append)
    assert asked == [17]


def test_every_fault_is_told_and_the_first_comes_first():
    spoiled = CONTENT.replace(b'"seed":0', b'"seed":1') + b"\n"
    findings = e.verify(spoiled, TRUSTED, request="r-ffffffffffffffff", ledger_head_lookup=lambda _: None)
    assert [finding.ok for finding in findings] == [False, False, False, False]
    assert e.first_fault(findings) == findings[0]
    assert "not byte for byte" in findings[0].text


def test_another_version_of_the_format_is_named_as_such():
    assert faults(CONTENT.replace(b'"version":"1"}', b'"version":"2"}'))[0].startswith("not evidence of version 1")


@pytest.mark.parametrize("part", [CONTENT.splitlines()[1], CONTENT.splitlines()[3], b"{}"])
def test_a_part_of_the_file_is_told_as_one_fault(part):
    (fault,) = faults(part)
    assert "there is no document with its signature; give the whole file" in fault
