"""From a source of images to prepared data, and from prepared data to splits."""

from __future__ import annotations

from typing import Any

from prefect import task

from qunlearn.config import DataConfig, SplitConfig
from qunlearn.data import erased, imageset, sources, splits
from tasks.workspace import Workspace


@task(name="ingest")
def ingest(workspace: Workspace) -> dict[str, Any]:
    """Read the source, leave out what was erased, write `data/prepared`. Returns a summary for the run."""
    gone = erased.read_erased(workspace.erased)
    image_set = sources.read(_anchored(workspace), erased=gone)
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
