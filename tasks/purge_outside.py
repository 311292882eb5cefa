"""Where copies may be that a purge does not reach: always listed, so that nobody takes the rest for the whole."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from qunlearn.deletion.purge_inventory import Outside
from qunlearn.deletion.traces import Traces
from tasks.rewriting import pieces
from tasks.tracking.connection import Connection
from tasks.tracking.erasure import stored_models
from tasks.workspace import Workspace

FOLDERS = ("data", "models", "metrics", "report", ".dvc/tmp/exps")
"""Folders of the project where a pipeline, its users and experiments of DVC keep files."""


def outside_custody(
    workspace: Workspace,
    traces: Traces,
    *,
    others: Sequence[Connection],
    unreachable: Sequence[tuple[str, str]],
) -> Iterator[Outside]:
    """All that is known, with what a person can do about it.

    Args:
        others: connections to experiments of the same MLflow server that may be another project's.
        unreachable: DVC's stores that cannot be searched -> why not.
    """
    yield from _sources(workspace)
    for name, why in unreachable:
        yield Outside("DVC remote", name, "DVC's configuration", why)
    for connection in others:
        trained = [model for model in stored_models(connection, traces.ids) if model.erased and model.kept]
        if trained:
            yield Outside(
                "experiment",
                f"experiment {connection.experiment_id}",
                "the same MLflow server",
                f"has {len(trained)} models that were trained on erased samples; purge it from its own project",
            )
    yield from _own_files(workspace, traces)
    scenario = workspace.params.split.scenario
    listed = workspace.root / scenario.file if scenario.kind == "ids" else None
    if listed is not None and listed.is_file() and (trace := traces.in_file(listed)):
        why = f"holds {trace.text}, which `split` will refuse; take them out"
        yield Outside("file", listed.name, "split.scenario.file", why)
    yield from ALWAYS


ALWAYS = (
    Outside(
        "backups", "backups", "of this computer, of its stores and of its databases", "their copies go as they age"
    ),
    Outside(
        "remote backups",
        "versions and backups",
        "of DVC's remotes and of the artifact store",
        "a storage service can keep what was deleted; see its settings for versions and retention",
    ),
    Outside(
        "git history",
        "git history",
        "of this repository and its clones",
        "keeps digests of former versions, the opaque ids in data/erased.txt, and whatever else was ever committed",
    ),
    Outside(
        "devices",
        "released models",
        "devices, services and people that have a model released earlier",
        "update them to the served model",
    ),
    Outside(
        "copies",
        "other copies",
        "other checkouts with caches of their own, other computers, files that somebody copied by hand",
        "purge each checkout; remove the others by hand",
    ),
)
"""What no purge reaches, wherever it runs."""


def _sources(workspace: Workspace) -> Iterator[Outside]:
    config = workspace.params.data
    root = getattr(config, "root", None)
    if root is None:
        yield Outside(
            "raw data", config.source, "the installed package scikit-learn", "its images come with the package"
        )
        return
    yield Outside(
        "raw data",
        str(root),
        "data.root",
        "the files that samples are imported from; `ingest` leaves erased ones out, their files are yours to remove",
    )
    metadata = getattr(config, "metadata", None)
    if metadata is not None:
        yield Outside(
            "raw data", str(metadata), "data.metadata", "the table about these files; its rows are yours to remove"
        )


def _own_files(workspace: Workspace, traces: Traces) -> Iterator[Outside]:
    """Files in the project's folders, other than those of the pipeline, that hold a trace."""
    root = workspace.root
    # What a killed writer left beside them is settled when they are written.
    folders = (workspace.prepared, workspace.splits)
    skipped = {*folders, *(piece for folder in folders for piece in pieces(folder))}
    if (raw := getattr(workspace.params.data, "root", None)) is not None:
        skipped.add(root / raw)
    for top in FOLDERS:
        for folder, names, files in os.walk(root / top):
            here = Path(folder)
            names[:] = [name for name in names if here / name not in skipped]
            for name in sorted(files):
                path = here / name
                if path == workspace.erased or path.is_symlink() or not path.is_file():
                    continue
                if trace := traces.in_file(path):
                    why = f"holds {trace.text}; a file of yours, to be removed or changed by hand"
                    yield Outside("file", path.relative_to(root).as_posix(), "the project's folder", why)
