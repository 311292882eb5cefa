"""Why a purge cannot be carried out now, or has not done all."""

from __future__ import annotations


class PurgeError(ValueError):
    """The purge was refused before anything changed, or it stopped; calling it again goes on from there."""


class PurgeBusyError(PurgeError):
    """Something else is at work on the data or the models; to be tried again when it has ended."""
