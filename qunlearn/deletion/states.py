"""The states of a request and of a batch, and which may follow which.

    received -> claimed -> unlearned -> verified -> promoted -> purged -> completed

Shortcuts: a batch whose samples no served model was trained on goes from claimed to purged; where nothing asked for is
present, from claimed to completed. Until it is promoted, work can be given back (-> received) and tried again. Before
anything was unlearned a request can be rejected. Nothing leaves completed or rejected.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum


class State(StrEnum):
    """Where a request stands."""

    RECEIVED = "received"
    CLAIMED = "claimed"
    UNLEARNED = "unlearned"
    VERIFIED = "verified"
    PROMOTED = "promoted"
    PURGED = "purged"
    COMPLETED = "completed"
    REJECTED = "rejected"


class Outcome(StrEnum):
    """What a completed request came to."""

    UNLEARNED = "unlearned"
    RETRAINED = "retrained"
    NOT_TRAINED = "not trained"
    ALREADY_ERASED = "already erased"
    NOT_PRESENT = "not present"


class TransitionError(ValueError):
    """A change of state that is not allowed."""


TRANSITIONS: dict[State, frozenset[State]] = {
    State.RECEIVED: frozenset({State.CLAIMED, State.REJECTED}),
    State.CLAIMED: frozenset({State.UNLEARNED, State.PURGED, State.COMPLETED, State.RECEIVED, State.REJECTED}),
    State.UNLEARNED: frozenset({State.VERIFIED, State.RECEIVED}),
    State.VERIFIED: frozenset({State.PROMOTED, State.RECEIVED}),
    State.PROMOTED: frozenset({State.PURGED}),
    State.PURGED: frozenset({State.COMPLETED}),
    State.COMPLETED: frozenset(),
    State.REJECTED: frozenset(),
}
"""State -> the states that may follow it."""

FINAL = frozenset(state for state, following in TRANSITIONS.items() if not following)
"""States that nothing leaves."""


def check(before: State, after: State) -> None:
    """Refuse a change of state that `TRANSITIONS` does not have; to stay where one is is no change either.

    Raises:
        TransitionError: naming both states and those that are allowed.
    """
    if after in TRANSITIONS[before]:
        return
    allowed = " or ".join(state for state in State if state in TRANSITIONS[before]) or "nothing: it is final"
    raise TransitionError(f"a request that is {before} cannot become {after}; allowed: {allowed}")


def batch_state(requests: Iterable[State]) -> State:
    """The state of a batch whose requests are in the states `requests`.

    While one of them is not final it is the least advanced of those; a batch is open then. After that it is
    `completed` if any request was, else `rejected` if any was, else `received`: all of them were given back.
    """
    states = frozenset(requests)
    unfinished = states - FINAL
    if unfinished:
        return min(unfinished, key=list(State).index)
    return next((state for state in (State.COMPLETED, State.REJECTED) if state in states), State.RECEIVED)
