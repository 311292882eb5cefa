"""The served model: versions of a registered model, and the alias ``champion``."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import nullcontext
from dataclasses import dataclass

from mlflow.entities import LoggedModel
from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import MlflowException

from tasks.tracking.checkpoints import DIGEST_TAG
from tasks.tracking.connection import MODELS_A_CALL, PAGE, Connection, TrackingError, everything, is_code
from tasks.tracking.markdown import NOTE_TAG, code, cut, link

SERVED = "qunlearn-served"
ALIAS = "champion"
ABOUT = (
    "Unlearned quantized models; the alias `champion` marks the one that is served. "
    "Each version says which model it is, and that model's page leads to data, split, parent, code and statistics."
)
DESCRIPTION_LIMIT = 5000
"""Characters that the registry keeps of a description."""
VERSIONS_TAG = "mlflow.modelVersions"
"""MLflow's own tag: the versions that a model's page links to."""


class ChampionChangedError(TrackingError):
    """Another version is served than the one that a new version was made from."""


@dataclass(frozen=True)
class Champion:
    """The model that is served: a version, its LoggedModel, the sha256 of its weights and the run that made it."""

    version: int
    model_id: str
    digest: str
    run_id: str


@dataclass(frozen=True)
class Version:
    """A version of a registered model, with its aliases."""

    name: str
    number: int
    aliases: tuple[str, ...]

    @property
    def label(self) -> str:
        """Such as ``qunlearn-served v3 (champion)``."""
        return f"{self.name} v{self.number}" + (f" ({', '.join(self.aliases)})" if self.aliases else "")


def versions(connection: Connection) -> dict[str, list[Version]]:
    """The registered versions of each LoggedModel, by its id."""
    found: dict[str, list[Version]] = {}
    # Versions that a search finds carry no aliases; the registered model has them.
    for model in everything(connection.client.search_registered_models, max_results=MODELS_A_CALL):
        for version in _versions(connection, model.name):
            number = int(version.version)
            aliases = tuple(sorted(alias for alias, v in model.aliases.items() if int(v) == number))
            model_id = str(version.source).removeprefix("models:/")
            found.setdefault(model_id, []).append(Version(model.name, number, aliases))
    return found


def _versions(connection: Connection, name: str) -> Iterator[ModelVersion]:
    return everything(connection.client.search_model_versions, f"name = '{name}'", max_results=PAGE)


def register(connection: Connection, model_id: str, *, name: str, tags: Mapping[str, str]) -> int:
    """Add a LoggedModel to the registry as a new version of `name`. Returns the version's number.

    A model that has a version already keeps it: whoever died after registering may do so again.
    """
    client = connection.client
    try:
        client.create_registered_model(name, description=ABOUT)
    except MlflowException as error:
        if not is_code(error, "RESOURCE_ALREADY_EXISTS"):
            raise
    model = client.get_logged_model(model_id)
    known = _versions(connection, name)
    for earlier in (int(version.version) for version in known if version.source == f"models:/{model_id}"):
        _link(connection, model_id, name, earlier)
        return earlier
    # A local registry looks up the model in the process's default store; a server asks itself.
    with nullcontext() if connection.is_server else connection.as_default():
        made = client.create_model_version(
            name,
            source=f"models:/{model_id}",
            run_id=model.source_run_id,
            tags={**tags, DIGEST_TAG: model.tags[DIGEST_TAG]},
            description=_about_version(connection, model, tags, model.tags.get(NOTE_TAG, "")),
            model_id=model_id,
        )
    version = int(made.version)
    _link(connection, model_id, name, version)
    _describe(connection, name)
    return version


def describe_model(connection: Connection, model_id: str, text: str) -> None:
    """Replace the Markdown description of a LoggedModel and of its registered versions."""
    client = connection.client
    client.set_logged_model_tags(model_id, {NOTE_TAG: text})
    model = client.get_logged_model(model_id)
    for entry in json.loads(model.tags.get(VERSIONS_TAG, "[]")):
        version = client.get_model_version(entry["name"], str(entry["version"]))
        about = _about_version(connection, model, version.tags, text)
        client.update_model_version(version.name, version.version, about)


def _about_version(connection: Connection, model: LoggedModel, tags: Mapping[str, str], card: str) -> str:
    shown = "".join(f", {key.replace('_', ' ')} {code(value)}" for key, value in tags.items() if key != DIGEST_TAG)
    page = link(model.name, connection.model_url(model.model_id))
    title = f"This version is the model {page}, weights {code(model.tags[DIGEST_TAG])}{shown}."
    return cut(f"{title}\n\n{card}".strip(), DESCRIPTION_LIMIT)


def _describe(connection: Connection, name: str) -> None:
    """Let the registered model's page lead to the model that is served."""
    served = champion(connection, name=name)
    text = "No version is served yet."
    if served is not None:
        model = connection.client.get_logged_model(served.model_id)
        page, version = connection.model_url(served.model_id), connection.version_url(name, served.version)
        text = f"Served now: {link(f'version {served.version}', version)}, which is the model {link(model.name, page)}."
    connection.client.update_registered_model(name, f"{ABOUT}\n\n{text}")


def set_champion(connection: Connection, version: int, *, name: str, base: int | None) -> None:
    """Serve this version.

    Args:
        base: the version that must be served until now, 0 for none; another one means that somebody else was quicker
            and that the new version undoes their work. None does not ask.

    Raises:
        ChampionChangedError: the served version is not `base`.
        TrackingError: the version does not exist.
    """
    with connection.lock():
        if base is not None:
            current = champion(connection, name=name)
            found = current.version if current else 0
            if found != base:
                raise ChampionChangedError(
                    f"{name}: version {version} was made from version {base}, but version {found} is served now; "
                    "start again from the served one"
                )
        try:
            connection.client.set_registered_model_alias(name, ALIAS, str(version))
        except MlflowException as error:
            if not is_code(error, "RESOURCE_DOES_NOT_EXIST"):
                raise
            raise TrackingError(f"{name} has no version {version}; register a model first") from None
        _describe(connection, name)


def champion(connection: Connection, *, name: str) -> Champion | None:
    """The served model, None while there is none.

    Raises:
        TrackingError: the model lost the mark with its weights' digest.
    """
    try:
        version = connection.client.get_model_version_by_alias(name, ALIAS)
    except MlflowException as error:
        # Unknown model, and known model without this alias.
        if not is_code(error, "RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
            raise
        return None
    # The version's own model_id is not filled in; its source is.
    model_id = model_of(version.source)
    model = connection.client.get_logged_model(model_id)
    if DIGEST_TAG not in model.tags:
        raise TrackingError(
            f"version {version.version} of {name} is served, but its model {model_id} has lost the tag {DIGEST_TAG}; "
            "serve another model with `qunlearn release`"
        )
    return Champion(int(version.version), model_id, model.tags[DIGEST_TAG], str(model.source_run_id))


def model_of(source: str | None) -> str:
    """The LoggedModel's id in ``models:/m-...``.

    Raises:
        TrackingError: the version was not registered from a LoggedModel.
    """
    model_id = (source or "").removeprefix("models:/")
    if not model_id.startswith("m-"):
        raise TrackingError(f"registered model with source {source!r}: must be models:/m-..., use Store.register")
    return model_id


def _link(connection: Connection, model_id: str, name: str, version: int) -> None:
    """Let the model's page link to its version; a server has done so already."""
    tags = connection.client.get_logged_model(model_id).tags
    versions = json.loads(tags.get(VERSIONS_TAG, "[]"))
    entry = {"name": name, "version": version}
    if not any(v["name"] == name and int(v["version"]) == version for v in versions):
        connection.client.set_logged_model_tags(model_id, {VERSIONS_TAG: json.dumps([*versions, entry])})
