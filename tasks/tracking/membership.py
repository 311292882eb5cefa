"""Which models were trained on a sample: read from the lists of training ids that lie beside their weights.

Models that were trained on the same images have equal lists; a model's tag holds the list's sha256. So each distinct
list is read once, from whichever model still has it, and it answers also for those whose bytes were erased.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, fields, replace
from datetime import UTC, datetime
from pathlib import Path

from mlflow.entities import LoggedModel, LoggedModelStatus
from mlflow.exceptions import MlflowException
from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository
from mlflow.utils.file_utils import local_file_uri_to_path

from tasks.temporary import temporary_folder
from tasks.tracking.checkpoints import DIGEST_TAG, FILES_TAG, TRAINED_IDS, WEIGHTS
from tasks.tracking.connection import Connection, is_code
from tasks.tracking.names import REGISTERED_TAG, written
from tasks.tracking.registry import ALIAS, SERVED, Version, versions

CHAMPION, REGISTERED, STORED, ERASED = "champion", "registered", "stored", "erased"
UNKNOWN = "unknown (bytes erased)"
STATES = (CHAMPION, REGISTERED, STORED, ERASED, UNKNOWN)
"""What is left of a model: served now; in the registry; kept; only its record; not even the list of its images."""

CONNECTIONS = 8
SMALLEST_PREFIX = 8


@dataclass(frozen=True)
class Found:
    """A model that was, or with state `UNKNOWN` may have been, trained on the sample; texts are empty if not known."""

    state: str
    name: str
    method: str
    seed: str
    digest: str
    model_id: str
    created: str
    url: str


@dataclass(frozen=True)
class TrainingLists:
    """The models of a store in groups with one list of training ids each; `ids` is None where no model has it left."""

    connection: Connection
    groups: Sequence[tuple[frozenset[str] | None, Sequence[LoggedModel]]]

    @classmethod
    def read(cls, connection: Connection) -> TrainingLists:
        """Read each distinct list once; models that recorded no list are left out."""
        by_list: dict[str, list[LoggedModel]] = {}
        for model in connection.models():
            recorded = json.loads(model.tags.get(FILES_TAG, "{}")).get(TRAINED_IDS)
            if recorded:
                by_list.setdefault(recorded, []).append(model)
        with ThreadPoolExecutor(CONNECTIONS) as pool:
            lists = pool.map(lambda item: _first_list(connection, item[1], digest=item[0]), by_list.items())
            return cls(connection, list(zip(lists, by_list.values(), strict=True)))

    def known(self) -> frozenset[str]:
        """Every id that some model was trained on."""
        return frozenset().union(*(ids for ids, _ in self.groups if ids is not None))

    def models_with(self, sample: str) -> list[Found]:
        """Models trained on `sample`, the served one first, and at the end those that nobody can tell about."""
        registered = versions(self.connection)
        sure = [model for ids, models in self.groups if ids is not None and sample in ids for model in models]
        # A model that was never complete left no bytes to erase.
        unsure = [
            m for ids, models in self.groups if ids is None for m in models if m.status == LoggedModelStatus.READY
        ]
        with ThreadPoolExecutor(CONNECTIONS) as pool:
            kept = list(pool.map(lambda model: WEIGHTS in _files(self.connection, model), sure))
        found = [
            self._found(model, _state(registered.get(model.model_id, ())) if here else ERASED)
            for model, here in zip(sure, kept, strict=True)
        ]
        found += [self._found(model, UNKNOWN) for model in unsure]
        newest_first = sorted(found, key=lambda one: one.created, reverse=True)
        return sorted(newest_first, key=lambda one: STATES.index(one.state))

    def models_of(self, ids: frozenset[str], *, params: Mapping[str, str]) -> list[tuple[str, str]]:
        """Model ids and sha256 of weights of all that were trained on exactly these samples, the newest first.

        Args:
            params: what is recorded with the model, under dotted names.
        """
        models = [
            model
            for own, group in self.groups
            if own == ids
            for model in group
            if DIGEST_TAG in model.tags and params.items() <= model.params.items()
        ]
        newest_first = sorted(models, key=lambda model: (-model.creation_timestamp, model.model_id))
        return [(model.model_id, model.tags[DIGEST_TAG]) for model in newest_first]

    def _found(self, model: LoggedModel, state: str) -> Found:
        created = datetime.fromtimestamp(model.creation_timestamp / 1000, UTC)
        return Found(
            state=state,
            name=written(model.name),
            method=model.tags.get(REGISTERED_TAG) or model.tags.get("method", ""),
            seed=model.tags.get("seed", ""),
            digest=model.tags.get(DIGEST_TAG, ""),
            model_id=model.model_id,
            created=created.isoformat(timespec="seconds"),
            url=f"{self.connection.ui}/{self.connection.model_url(model.model_id)}",
        )


def models_table(found: Sequence[Found]) -> str:
    """One line a model for a terminal, with what its state means for the sample."""
    if not any(model.state != UNKNOWN for model in found):
        lines = ["No model whose training images are known was trained on it."]
    else:
        lines = []
    if found:
        rows = [tuple(column.name for column in fields(Found))]
        rows += [tuple(asdict(replace(model, digest=model.digest[:12])).values()) for model in found]
        widths = [max(len(row[place]) for row in rows) for place in range(len(rows[0]))]
        lines += [
            "  ".join(f"{text:<{width}}" for text, width in zip(row, widths, strict=True)).rstrip() for row in rows
        ]
    if any(model.state == UNKNOWN for model in found):
        lines.append(
            f"{UNKNOWN}: the list of its training images is gone too, so it may have been trained on the sample."
        )
    return "\n".join(lines) + "\n"


def with_prefix(prefix: str, ids: Iterable[str]) -> str | None:
    """The id that `prefix` means among `ids`: itself, or the only one that begins with it; None if there is none.

    Raises:
        ValueError: a prefix of several ids, or one of fewer than 8 characters.
    """
    matching = sorted(one for one in ids if one.startswith(prefix))
    if prefix in matching:
        return prefix
    if not matching:
        return None
    if len(prefix) < SMALLEST_PREFIX:
        raise ValueError(
            f"sample {prefix!r}: begins {len(matching)} ids; give a whole id, or at least its first "
            f"{SMALLEST_PREFIX} characters"
        )
    if len(matching) > 1:
        examples = ", ".join(matching[:3])
        raise ValueError(f"sample {prefix!r}: begins {len(matching)} ids, e.g. {examples}; give more characters")
    return matching[0]


def _state(registered: Iterable[Version]) -> str:
    versions_of = list(registered)
    if any(version.name == SERVED and ALIAS in version.aliases for version in versions_of):
        return CHAMPION
    return REGISTERED if versions_of else STORED


def _first_list(connection: Connection, models: Sequence[LoggedModel], *, digest: str) -> frozenset[str] | None:
    """The ids in the first copy of the list whose sha256 is the recorded one."""
    for model in models:
        content = _training_list(connection, model)
        if content is not None and hashlib.sha256(content).hexdigest() == digest:
            return frozenset(content.decode("utf-8").split())
    return None


def _training_list(connection: Connection, model: LoggedModel) -> bytes | None:
    """The file's bytes; None where it is not there, or vanishes while it is read: a deletion may erase it any time."""
    folder = _folder(model)
    if folder is not None:
        try:
            return (folder / TRAINED_IDS).read_bytes()
        except (FileNotFoundError, NotADirectoryError):
            return None
    if TRAINED_IDS not in _files(connection, model):
        return None
    repository = get_artifact_repository(model.artifact_location, tracking_uri=connection.uri)
    with temporary_folder(connection.root) as temporary:
        try:
            return Path(repository.download_artifacts(TRAINED_IDS, dst_path=str(temporary))).read_bytes()
        except MlflowException:
            if TRAINED_IDS in _files(connection, model):
                raise
            return None


def _files(connection: Connection, model: LoggedModel) -> frozenset[str]:
    """Names of the files at the top of a model's folder; none after its bytes were erased."""
    folder = _folder(model)
    if folder is not None:
        try:
            return frozenset(path.name for path in folder.iterdir())
        except (FileNotFoundError, NotADirectoryError):
            return frozenset()
    try:
        repository = get_artifact_repository(model.artifact_location, tracking_uri=connection.uri)
        return frozenset(entry.path for entry in repository.list_artifacts(""))
    except MlflowException as error:
        if not is_code(error, "RESOURCE_DOES_NOT_EXIST"):
            raise
        return frozenset()


def _folder(model: LoggedModel) -> Path | None:
    """Where the files lie if that is a folder of this computer."""
    location = str(model.artifact_location)
    return Path(local_file_uri_to_path(location)) if location.startswith(("file:", "/")) else None
