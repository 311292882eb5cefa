"""Models without this program's marks: logged by hand with MLflow's own client, or with their tags taken away.

What they were trained on no record tells, so their files are searched. One in an experiment of this project that holds
a trace goes, as a file of a run does that holds one, whoever put it there. The served model stays in any case.
"""

from __future__ import annotations

from collections.abc import Collection
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from mlflow.entities import LoggedModel

from qunlearn.deletion.traces import Traces
from tasks.tracking.artifact_files import ArtifactFiles
from tasks.tracking.checkpoints import DIGEST_TAG
from tasks.tracking.connection import Connection
from tasks.tracking.erasure import files_of, parents_of
from tasks.tracking.membership import CONNECTIONS
from tasks.tracking.registry import ALIAS, SERVED, versions


@dataclass(frozen=True)
class UnmarkedModel:
    """A model without this program's marks, logged by hand or with its marks taken away, that holds a trace.

    Args:
        id: of the record.
        place: where it is, by ids alone: people choose the names.
        why: what it holds, or what it was made from, in words.
        served: it is the champion.
    """

    id: str
    place: str
    why: str
    served: bool


def unmarked_models(
    connection: Connection, traces: Traces, *, gone: Collection[str] = ()
) -> tuple[list[UnmarkedModel], int]:
    """Those of an experiment that hold a trace; and how many files all without marks have, which are searched.

    Args:
        gone: ids of models that must go: what was made from them must go, too.
    """
    served = _served_id(connection, name=SERVED)

    def judged(model: LoggedModel) -> tuple[UnmarkedModel | None, int]:
        files = files_of(connection, model)
        names = files.names()
        is_served = model.model_id == served
        why = next((text for name in names if (text := _held(files, name, traces, made_from=not is_served))), "")
        if not why and names and not is_served and not set(gone).isdisjoint(parents_of(connection, model)):
            why = "was made from a model that erased samples went into"
        place = f"MLflow, model {model.model_id}"
        found = UnmarkedModel(model.model_id, place, why, is_served) if why else None
        return found, len(names)

    theirs = [model for model in connection.models() if DIGEST_TAG not in model.tags]
    with ThreadPoolExecutor(CONNECTIONS) as pool:
        results = list(pool.map(judged, theirs))
    return [found for found, _ in results if found is not None], sum(count for _, count in results)


def _held(files: ArtifactFiles, name: str, traces: Traces, *, made_from: bool) -> str:
    with files.local(name) as path:
        text = traces.in_file(path).text or (traces.parent(path) if made_from else "")
    return f"holds {text}" if text else ""


def _served_id(connection: Connection, *, name: str) -> str | None:
    """Id of the champion, whatever marks it has; None while there is none."""
    aliased = (
        model_id
        for model_id, registered in versions(connection).items()
        if any(version.name == name and ALIAS in version.aliases for version in registered)
    )
    return next(aliased, None)
