"""What is left of a project, found by a search of its own."""

from __future__ import annotations

import pyarrow.parquet as pq
from purge_project import Project

from qunlearn.data import imageset
from tasks.tracking.artifact_files import ArtifactFiles


def everything(project: Project) -> dict[str, bytes]:
    """All files of the project and of its remote, but locks and what DVC and SQLite note for themselves."""
    folder = project.root.parent
    skipped = ("/.dvc/tmp/", "/site/", ".lock", "/.git/")
    return {
        name: path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and not any(part in (name := f"/{path.relative_to(folder)}") for part in skipped)
    }


def remains(project: Project) -> set[str]:
    """Files with an erased id or image, by a search of its own; the list of ids and the database are left out."""
    images = original_images(project)
    found = set()
    for path in project.root.parent.rglob("*"):
        if not path.is_file() or path.name in ("erased.txt", "mlflow.db"):
            continue
        content = path.read_bytes()
        if path.suffix == ".parquet":
            content = repr(pq.read_table(path).to_pylist()).encode()
        if any(one.encode() in content for one in project.gone) or any(image in content for image in images):
            found.add(path.relative_to(project.root.parent).as_posix())
    return found


def original_images(project: Project) -> list[bytes]:
    """The pixels of the erased samples, from the project that this one is a copy of."""
    from purge_project import built

    images = imageset.load(built().workspace.prepared)
    return [images.images[place].tobytes() for place in images.index_of(project.gone)]


def models_without_bytes(project: Project) -> set[str]:
    client = project.store.connection.client
    ids = [
        model_id
        for model_id in project.models.values()
        if not ArtifactFiles(project.store.connection, client.get_logged_model(model_id).artifact_location).names()
    ]
    return project.roles(ids)
