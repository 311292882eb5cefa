"""What ends the work on a batch before its model is released; the requests then wait again."""

from __future__ import annotations

from tasks.tracking import ChampionChangedError


class SetbackError(ValueError):
    """No model can be released for this batch now. Whoever reads the message has to do something about it."""

    reason = "no model could be released"
    """What the ledger keeps, in words that fit every case."""


class MethodsExhaustedError(SetbackError):
    """No method gave a model that passes the gates."""

    reason = "no method passed the gates"


class CandidateError(SetbackError):
    """The candidate was lost, damaged, or does not answer as it did; it will be made anew."""

    reason = "the new model was lost or damaged"


class MissingImagesError(SetbackError):
    """The served model was trained on images that are not in the prepared data, so that it cannot be taught to keep
    them."""

    reason = "images of the served model are missing"


class DataChangedError(ValueError):
    """The plan that was made no longer fits data or list of erased ids."""

    reason = "the data were changed meanwhile"


BEGIN_ANEW = (ChampionChangedError, DataChangedError)
"""The work was done for a model or for data that are no longer those of the project: it is done again with these."""


def reason_of(error: ChampionChangedError | DataChangedError | SetbackError) -> str:
    """What the ledger says of requests that were given back for it: no name, no number."""
    return "the served model was changed meanwhile" if isinstance(error, ChampionChangedError) else error.reason
