"""What the store's server, its database, or the disk below them refuse: told in one line, and no mistake of ours."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from mlflow.exceptions import MlflowException
from sqlalchemy.exc import DBAPIError

from tasks.tracking.connection import TrackingError, is_code, without_credentials

AGAIN = "make room, mend permissions or start the server again, then run this again: it goes on"


class OutageError(TrackingError):
    """Something that worked before does not now. Nothing is lost by trying again later."""


@contextmanager
def outages_told() -> Iterator[None]:
    """For a block, or as a decorator for a function.

    Raises:
        OutageError: in place of the errors of files, of connections, of MLflow and of its database. MLflow's other
            errors are mistakes of the program, and stay as they are.
    """
    try:
        yield
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        raise OutageError(f"{where}{error.strerror or type(error).__name__}; {AGAIN}") from error
    except (MlflowException, DBAPIError) as error:
        if isinstance(error, MlflowException) and not is_code(error, "INTERNAL_ERROR", "TEMPORARILY_UNAVAILABLE"):
            raise
        raise OutageError(f"the MLflow store cannot be used: {_reason(error)}; {AGAIN}") from error


def _reason(error: MlflowException | DBAPIError) -> str:
    """The first line: the next ones hold statements with their values."""
    line = next(iter(str(error).splitlines()), "no reason given")
    if line.startswith("API request to "):
        return "its server does not answer"
    return without_credentials(line)[:200]
