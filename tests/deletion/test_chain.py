"""The chain of hashes: golden values, and that nothing changes in it unnoticed."""

from __future__ import annotations

import hashlib
import json
import math
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qunlearn.deletion.chain import GENESIS, Fault, Row, canonical, digest, digest_text, verify

SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
TEXTS = st.text(st.characters(exclude_categories=["Cs"]))
KEYS = st.sampled_from(["", "a", "b", "ä", "10", "9"])
JSON = st.dictionaries(
    KEYS,
    st.recursive(
        SCALARS | TEXTS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner), max_leaves=6
    ),
)


def body(number: int, **more: Any) -> dict[str, Any]:
    return {"number": number, "at": f"2026-11-21T09:00:{number:02}.000000+00:00", **more}


def chain(bodies: list[dict[str, Any]]) -> list[Row]:
    rows, previous = [], GENESIS
    for one in bodies:
        previous = digest(previous, one)
        rows.append(Row(one["number"], canonical(one), previous))
    return rows


def test_the_hash_is_sha256_over_the_hash_before_and_the_canonical_json() -> None:
    assert GENESIS == "0" * 64
    assert digest(GENESIS, {"number": 1}) == "71954ae62f8018da104c86cc9b478bbbcae873cc3063f62aea6b4d1083aab8c4"
    text = '{"a":[1,{"x":null}],"ä":"é"}'
    assert canonical({"ä": "é", "a": (1, {"x": None})}) == text
    assert digest("ff", {"ä": "é", "a": [1, {"x": None}]}) == hashlib.sha256(b"ff" + text.encode("utf-8")).hexdigest()


@given(JSON)
def test_equal_bodies_have_one_text_and_it_says_all(value: dict[str, Any]) -> None:
    text = canonical(value)
    assert json.loads(text) == value
    assert canonical(dict(reversed(value.items()))) == text
    assert digest_text(GENESIS, text) == digest(GENESIS, value)


@pytest.mark.parametrize(
    "value", [math.nan, math.inf, Path("secret"), b"secret", {"secret"}, "secret \ud800", {1: "secret", "a": 1}]
)
def test_what_is_no_json_is_refused_without_being_repeated(value: object) -> None:
    with pytest.raises(ValueError, match="only JSON can be written") as refused:
        canonical({"key": value})
    assert "secret" not in str(refused.value)
    assert refused.value.__suppress_context__


def test_an_untouched_chain_has_no_fault() -> None:
    assert verify([]) is None
    assert verify(chain([body(number) for number in range(1, 9)])) is None


@given(st.data())
def test_any_changed_character_is_found_at_its_event(data: st.DataObject) -> None:
    rows = chain([body(number, payload={"text": "abc"}) for number in range(1, 6)])
    place = data.draw(st.integers(0, 4), "row")
    column = data.draw(st.sampled_from(["body", "hash"]), "column")
    text = getattr(rows[place], column)
    at = data.draw(st.integers(0, len(text) - 1), "character")
    other = data.draw(st.characters(exclude_categories=["Cs"]).filter(lambda one: one != text[at]), "instead")
    rows[place] = rows[place]._replace(**{column: text[:at] + other + text[at + 1 :]})
    fault = verify(rows)
    assert fault is not None
    assert (fault.row, fault.number) == (f"event {place + 1}", place + 1)


@given(st.lists(st.integers(0, 5), min_size=2, max_size=2, unique=True), st.booleans())
def test_exchanged_events_are_found_at_the_first_of_them(places: list[int], renumbered: bool) -> None:
    rows = chain([body(number) for number in range(1, 7)])
    one, two = places
    rows[one], rows[two] = rows[two], rows[one]
    if renumbered:
        rows = [row._replace(number=number) for number, row in enumerate(rows, start=1)]
    fault = verify(rows)
    assert fault is not None
    assert fault.number == min(places) + 1


@pytest.mark.parametrize("renumbered", [False, True])
@pytest.mark.parametrize("missing", [1, 2, 5])
def test_a_removed_event_is_named(missing: int, renumbered: bool) -> None:
    rows = chain([body(number) for number in range(1, 7)])
    del rows[missing - 1]
    if renumbered:
        rows = [row._replace(number=number) for number, row in enumerate(rows, start=1)]
    fault = verify(rows)
    assert fault is not None
    assert fault.number == missing
    if not renumbered:
        assert str(fault) == f"event {missing}: is missing; event {missing + 1} comes in its place"


def test_a_removed_end_cannot_be_seen_by_the_chain_alone() -> None:
    assert verify(chain([body(number) for number in range(1, 7)])[:-2]) is None


def test_a_hash_made_to_fit_moves_the_fault_to_the_event_after_it() -> None:
    rows = chain([body(number) for number in range(1, 5)])
    changed = body(2, payload="other")
    rows[1] = Row(2, canonical(changed), digest(rows[0].hash, changed))
    fault = verify(rows)
    assert fault is not None
    assert fault.number == 3


@pytest.mark.parametrize("content", ["[]", "null", "2", "{}", '{"number":7,"at":""}', '{"number":"2","at":""}', "{"])
def test_a_body_that_is_not_of_this_event_is_refused_even_with_a_fitting_hash(content: str) -> None:
    rows = chain([body(1)])
    rows.append(Row(2, content, digest_text(rows[0].hash, content)))
    assert verify(rows) == Fault("event 2", "its content is not that of an event with this number", 2)


def test_time_that_runs_backwards_is_a_fault() -> None:
    rows = chain([body(1), body(2) | {"at": body(9)["at"]}, body(3)])
    assert verify(rows) == Fault("event 3", "it is older than the event before it", 3)


def test_content_that_is_no_text_is_a_fault() -> None:
    rows = chain([body(1)])
    fault = verify([rows[0]._replace(body=rows[0].body.encode())])  # type: ignore[arg-type]
    assert fault is not None
    assert fault.number == 1
