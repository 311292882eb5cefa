"""Which states may follow which: written out here once more, from the description of the service."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qunlearn.deletion.states import FINAL, TRANSITIONS, State, TransitionError, batch_state, check

ARROWS = {
    *itertools.pairwise(("received", "claimed", "unlearned", "verified", "promoted", "purged", "completed")),
    ("claimed", "purged"),
    ("claimed", "completed"),
    ("claimed", "received"),
    ("unlearned", "received"),
    ("verified", "received"),
    ("received", "rejected"),
    ("claimed", "rejected"),
}
OPEN = ("claimed", "unlearned", "verified", "promoted", "purged")


@pytest.mark.parametrize(("before", "after"), itertools.product(State, State))
def test_exactly_the_described_changes_are_allowed(before: State, after: State) -> None:
    if (before, after) in ARROWS:
        check(before, after)
    else:
        with pytest.raises(TransitionError, match=f"is {before} cannot become {after}"):
            check(before, after)


def test_a_refusal_says_what_is_allowed() -> None:
    with pytest.raises(TransitionError, match="allowed: received or verified"):
        check(State.UNLEARNED, State.PROMOTED)
    with pytest.raises(TransitionError, match="nothing: it is final"):
        check(State.REJECTED, State.RECEIVED)


def test_every_state_can_be_reached_and_only_completed_and_rejected_are_final() -> None:
    reached, seen = {State.RECEIVED}, set[State]()
    while reached - seen:
        state = (reached - seen).pop()
        seen.add(state)
        reached |= TRANSITIONS[state]
    assert seen == set(State) == set(TRANSITIONS)
    assert {"completed", "rejected"} == FINAL


def test_from_promotion_on_there_is_no_way_but_completion() -> None:
    assert TRANSITIONS[State.PROMOTED] == {"purged"}
    assert TRANSITIONS[State.PURGED] == {"completed"}


@given(st.lists(st.sampled_from([state for state in State if state is not State.RECEIVED])))
def test_a_batch_is_as_far_as_its_slowest_unfinished_request(states: list[State]) -> None:
    unfinished = [state for state in OPEN if state in states]
    if unfinished:
        assert batch_state(states) == unfinished[0]
    elif "completed" in states:
        assert batch_state(states) == "completed"
    else:
        assert batch_state(states) == ("rejected" if states else "received")
