"""Bytes and marks of the models of a `purge_project`."""

from __future__ import annotations

from pathlib import Path

from tasks.tracking.connection import Connection
from tasks.tracking.erasure import Mark, files_of

MARK = Mark("2026-11-21T03:00:00+00:00", "deletion b-0123456789abcdef")


def folder(connection: Connection, model_id: str) -> Path:
    """Where the bytes of a model are."""
    found = files_of(connection, connection.client.get_logged_model(model_id)).folder
    assert found is not None
    return found
