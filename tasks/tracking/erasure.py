"""Erase the bytes of models and keep their records: what is there, and the two ways to take it away.

`delete_run` and `delete_model_version` would keep the bytes, `mlflow gc` would destroy the records; neither is used.
Each function can be repeated: the bytes go first, the marks that say so come last.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

from mlflow.entities import LoggedModel, ViewType
from mlflow.exceptions import MlflowException

from qunlearn.data.atomic import replaced_folder
from qunlearn.deletion.purge_models import StoredModel
from qunlearn.deletion.traces import Traces
from tasks.tracking.artifact_files import ArtifactFiles
from tasks.tracking.checkpoints import DIGEST_TAG, FILES_TAG, TRAINED_IDS
from tasks.tracking.connection import PAGE, Connection, TrackingError, everything, is_code
from tasks.tracking.markdown import NOTE_TAG, cut
from tasks.tracking.membership import CONNECTIONS, TrainingLists
from tasks.tracking.names import written
from tasks.tracking.registry import DESCRIPTION_LIMIT, SERVED, Version, champion, versions

ERASED_AT, ERASED_BECAUSE = "erased_at", "erased_because"
"""Tags of a model, of its run and of its registered versions: when its bytes were erased (UTC), and why."""
HEAD = "**Its bytes were"
"""Begins the heading that a description gets."""
QUARANTINED_TAG = "quarantined"
"""Tag of a model whose bytes were not removed but moved to where nothing uses them."""
BENCHMARK = ("pretrain", "retrain", "unlearn")
"""Stages whose models can be put into quarantine; those of shadows and of deletions cannot."""


@dataclass(frozen=True)
class Mark:
    """What is written to the records of what was erased.

    Args:
        at: when, ISO 8601 in UTC.
        because: such as a deletion's number. It stays for ever and everybody can read it: no name, no sample id.
    """

    at: str
    because: str

    @property
    def tags(self) -> dict[str, str]:
        """As tags of a record."""
        return {ERASED_AT: self.at, ERASED_BECAUSE: self.because}


def custody(connection: Connection) -> tuple[list[Connection], list[Connection]]:
    """The experiments that belong to this project, and the store's others.

    A local database is the project's own, whatever its experiments were called; a server can have other projects' too.

    Raises:
        TrackingError: the project's experiment is not among them.
    """
    found = everything(connection.client.search_experiments, view_type=ViewType.ALL, max_results=PAGE)
    own: list[Connection] = []
    others: list[Connection] = []
    for experiment in found:
        mine = experiment.experiment_id == connection.experiment_id or not connection.is_server
        (own if mine else others).append(replace(connection, experiment_id=str(experiment.experiment_id)))
    if connection.experiment_id not in (one.experiment_id for one in own):
        raise TrackingError(
            f"{connection.uri}: MLflow does not list the project's own experiment, {connection.experiment_id}, so "
            "nothing can be said about its models; see that its user may read it"
        )
    return own, others


def stored_models(connection: Connection, erased: frozenset[str]) -> list[StoredModel]:
    """All models of an experiment that this program made, with all that a decision about them needs.

    They are told by a tag, which anybody can take away: see `unmarked` for the others.

    Args:
        erased: ids of the erased samples.
    """
    counts: dict[str, int | None] = {}
    for ids, models in TrainingLists.read(connection).groups:
        counts |= dict.fromkeys((model.model_id for model in models), None if ids is None else len(ids & erased))
    served, registered = champion(connection, name=SERVED), versions(connection)

    def described(model: LoggedModel) -> StoredModel:
        own = registered.get(model.model_id, [])
        return StoredModel(
            id=model.model_id,
            name=written(model.name),
            weights=f"sha256:{model.tags[DIGEST_TAG]}",
            place=_place(model, own),
            erased=counts.get(model.model_id),
            parents=tuple(parents_of(connection, model)),
            served=served is not None and served.model_id == model.model_id,
            registered=any(version.name == SERVED for version in own),
            benchmark=model.tags.get("stage") in BENCHMARK,
            kept=bool(files_of(connection, model).names()),
            marked=ERASED_AT in model.tags,
        )

    ours = [model for model in connection.models() if DIGEST_TAG in model.tags]
    with ThreadPoolExecutor(CONNECTIONS) as pool:
        return list(pool.map(described, ours))


def recorded_files(connection: Connection) -> frozenset[str]:
    """sha256 of the files of all models of an experiment, but for their lists of ids."""
    files = [json.loads(model.tags.get(FILES_TAG, "{}")) for model in connection.models()]
    return frozenset(digest for names in files for name, digest in names.items() if name != TRAINED_IDS)


def erase(connection: Connection, model_id: str, *, why: str, mark: Mark) -> None:
    """Remove all bytes of a model, then say so in its record, in its run's and in its registered versions'."""
    model = connection.model(model_id)
    if model is None:
        return  # a person has deleted the record meanwhile; its bytes have no owner then, see `run_artifacts`
    files_of(connection, model).remove()
    _mark(connection, model, why=why, mark=mark, tags={})


def quarantine(connection: Connection, model_id: str, folder: Path, *, why: str, mark: Mark) -> None:
    """Move all bytes of a model to ``<folder>/<model id>``, readable by this user alone, then say so in its record."""
    model = connection.model(model_id)
    if model is None:
        return
    files, target = files_of(connection, model), folder / model_id
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    # Complete on the disk before the original goes; if that was interrupted, what is left of it is no second copy.
    if files.names() and not target.exists():
        with replaced_folder(target) as fresh:
            fresh.chmod(0o700)
            files.copy_to(fresh)
    files.remove()
    _mark(connection, model, why=why, mark=mark, tags={QUARANTINED_TAG: "true"})


def traces_in_models(
    connection: Connection, models: Sequence[StoredModel], traces: Traces
) -> tuple[list[tuple[StoredModel, str, str]], int]:
    """Search all files of some models: (model, file, what it holds), and how many files were searched."""

    def searched(model: StoredModel) -> tuple[list[tuple[StoredModel, str, str]], int]:
        files = files_of(connection, connection.client.get_logged_model(model.id))
        names, found = files.names(), []
        for name in names:
            with files.local(name) as path:
                if trace := traces.in_file(path):
                    found.append((model, name, trace.text))
        return found, len(names)

    with ThreadPoolExecutor(CONNECTIONS) as pool:
        results = list(pool.map(searched, models))
    return [one for found, _ in results for one in found], sum(count for _, count in results)


def files_of(connection: Connection, model: LoggedModel) -> ArtifactFiles:
    """The bytes of a model."""
    return ArtifactFiles(connection, str(model.artifact_location))


def _place(model: LoggedModel, registered: list[Version]) -> str:
    labels = "".join(f", registered as {version.label}" for version in registered)
    return f"MLflow, model {model.model_id}{labels}"


def parents_of(connection: Connection, model: LoggedModel) -> Iterator[str]:
    """Ids of the models that a model was made from, by the inputs of its run; by its tag where these are gone."""
    try:
        # Runs that a search finds carry no model inputs.
        run = connection.client.get_run(str(model.source_run_id))
        inputs = [entry.model_id for entry in run.inputs.model_inputs or ()] if run.inputs else []
    except MlflowException as error:
        if not is_code(error, "RESOURCE_DOES_NOT_EXIST"):
            raise
        inputs = []
    yield from inputs
    weights = model.tags.get("parent_sha256")
    if weights and not inputs:
        same = [one.model_id for one in connection.models(f"tags.{DIGEST_TAG} = '{weights}'")]
        yield from same or [f"weights {weights}"]


def _mark(connection: Connection, model: LoggedModel, *, why: str, mark: Mark, tags: dict[str, str]) -> None:
    """The model's own tag comes last: where it is, everything else has been done."""
    if ERASED_AT in model.tags:
        return
    head = f"**Its bytes were {'moved aside' if tags else 'erased'}** at {mark.at} ({mark.because}): it {why}."
    if model.source_run_id is not None:
        mark_run(connection, model.source_run_id, mark)
    for version in versions(connection).get(model.model_id, ()):
        name, number = version.name, str(version.number)
        for key, value in mark.tags.items():
            connection.client.set_model_version_tag(name, number, key, value)
        about = connection.client.get_model_version(name, number).description
        connection.client.update_model_version(name, number, cut(_headed(about, head), DESCRIPTION_LIMIT))
    note = _headed(model.tags.get(NOTE_TAG, ""), head)
    connection.client.set_logged_model_tags(model.model_id, {**tags, **mark.tags, NOTE_TAG: note})


def mark_run(connection: Connection, run_id: str, mark: Mark) -> None:
    """Say in a run's tags that something it made was erased; records that a person has deleted cannot be changed."""
    try:
        run = connection.client.get_run(run_id)
    except MlflowException as error:
        if not is_code(error, "RESOURCE_DOES_NOT_EXIST"):
            raise
        return
    if run.info.lifecycle_stage == "active" and ERASED_AT not in run.data.tags:
        for key, value in mark.tags.items():
            connection.client.set_tag(run_id, key, value)


def _headed(text: str, head: str) -> str:
    """The text below a heading that says what was erased, unless it has one."""
    return text if text.startswith(HEAD) else f"{head}\n\n{text}"
