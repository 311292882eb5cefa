"""From a source of images to prepared data, and from prepared data to splits."""

from __future__ import annotations

from typing import Any

from prefect import task

from qunlearn.config import DataConfig, ImageFolderSource, SplitConfig
from qunlearn.data import erased, imageset, sources, splits
from qunlearn.data.imageset import ImageSet
from tasks.workspace import Workspace


class OwnImagesError(ValueError):
    """Something is wrong with the user's own images or their table, both of which may name people.

    Prefect and MLflow store the message, so it says nothing of them; what is wrong is for the terminal alone.

    Args:
        told: what is wrong. It is lost where the error is sent to another process or stored.
    """

    def __init__(self, told: str = "") -> None:
        super().__init__(
            "data.root or data.metadata cannot be read; what is wrong may name people and is not stored: run "
            "`python -m flows.ingest`, which tells it"
        )
        self.told = told

    def __reduce__(self) -> tuple[type[OwnImagesError], tuple[()]]:
        return OwnImagesError, ()


@task(name="ingest")
def ingest(workspace: Workspace) -> dict[str, Any]:
    """Read the source, leave out what was erased, write `data/prepared`. Returns a summary for the run."""
    gone = erased.read_erased(workspace.erased)
    image_set = _read(_anchored(workspace), gone)
    imageset.save(image_set, workspace.prepared)
    return {
        "images": len(image_set.ids),
        "erased_ids": len(gone),
        "shape": list(image_set.images.shape[1:]),
        "classes": len(image_set.meta.classes),
        "source": image_set.meta.source,
        "licence": image_set.meta.licence,
        "raw_digest": image_set.meta.raw_digest,
    }


@task(name="split")
def split(workspace: Workspace) -> dict[str, Any]:
    """Divide the prepared images, write `data/splits`. Returns the manifest.

    The list of erased ids is read under its lock, and its digest goes into the manifest: DVC looks at dependencies only
    after the stage, and would record a list that changed meanwhile as the one that was used.
    """
    image_set = imageset.load(workspace.prepared)
    with erased.lock(workspace.erased):
        gone = erased.read_erased(workspace.erased)
        digest = erased.digest(workspace.erased)
    result = splits.make_split(
        image_set,
        _anchored_scenario(workspace),
        target=workspace.params.data.target,
        erased=gone,
        erased_digest=digest,
    )
    splits.save_split(result, workspace.splits)
    return dict(result.manifest)


def _read(config: DataConfig, gone: frozenset[str]) -> ImageSet:
    problem: str | None = None
    try:
        return sources.read(config, erased=gone)
    except ValueError as error:
        if not isinstance(config, ImageFolderSource):
            raise
        problem = str(error)
    # Outside of the block above: what is raised there remembers what it was raised for.
    raise OwnImagesError(problem)


def _anchored(workspace: Workspace) -> DataConfig:
    """The data block with its relative paths taken from the folder of the parameter file."""
    config = workspace.params.data
    paths = {
        name: workspace.root / value
        for name in ("root", "metadata")
        if (value := getattr(config, name, None)) is not None
    }
    return config.model_copy(update=paths)


def _anchored_scenario(workspace: Workspace) -> SplitConfig:
    config = workspace.params.split
    if config.scenario.kind != "ids":
        return config
    scenario = config.scenario.model_copy(update={"file": workspace.root / config.scenario.file})
    return config.model_copy(update={"scenario": scenario})
