"""Names of models: ``oeu-seed0``, and ``oeu-seed0-trial2`` for one that was made to choose settings.

The model that is used in the end can be a trial, or the model of an earlier study. It keeps its name and gets a tag
with the plain one, so that the plain name leads to what is used and never to a trial that lost.
"""

from __future__ import annotations

import re
import time

from mlflow.entities import LoggedModel

from tasks.tracking.connection import Connection

TRIAL_TAG = "trial"
"""Tag of a model that was made to choose settings: those that it was made with, for people."""
SEARCH_TAG = "search_run"
"""Tag of the same: the run of the search that decided about it last."""
USED_AS_TAG = "used_as"
USED_SINCE_TAG = "used_since"
"""Tags of a model that stands in for a new one of another name, or of an earlier time in milliseconds."""

_NAME = re.compile(r"(?P<method>.+)-seed(?P<seed>\d+)(?:-trial\d+)?")


def method_and_seed(name: str) -> tuple[str, str] | None:
    """What a model's name is made of, whether or not it was a trial; None for a name of another kind."""
    found = _NAME.fullmatch(name)
    return (found["method"], found["seed"]) if found else None


def trial_name(name: str, number: int) -> str:
    """The name of a trial's model, e.g. ``oeu-seed0-trial2``; `number` counts from 1."""
    return f"{name}-trial{number}"


def use_as(connection: Connection, model_id: str, name: str) -> None:
    """Let the plain name lead to this model from now on."""
    now = str(int(time.time() * 1000))
    connection.client.set_logged_model_tags(model_id, {USED_AS_TAG: name, USED_SINCE_TAG: now})


def newest_named(connection: Connection, name: str) -> str | None:
    """The id of the model that has this name, or is used under it; of several the one that was made or used last."""
    found = [
        model
        for condition in (f"name = '{name}'", f"tags.{USED_AS_TAG} = '{name}'")
        for model in connection.models(condition)
    ]
    newest = max(found, key=lambda model: _since(model, name), default=None)
    return None if newest is None else str(newest.model_id)


def _since(model: LoggedModel, name: str) -> int:
    used = int(model.tags[USED_SINCE_TAG]) if model.tags.get(USED_AS_TAG) == name else 0
    return max(used, int(model.creation_timestamp))
