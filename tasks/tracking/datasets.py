"""Dataset inputs of runs: a name, a digest and a path that DVC versions."""

from __future__ import annotations

from typing import Any

from mlflow.data.dataset_source import DatasetSource
from mlflow.data.dataset_source_registry import register_dataset_source
from mlflow.data.meta_dataset import MetaDataset
from mlflow.entities import DatasetInput, InputTag

DIGEST_LIMIT = 36
"""Characters that MLflow keeps; an md5 with ``.dir`` fits exactly."""

CONTEXT_TAG = "mlflow.data.context"

SPLIT = "split"
"""Begins the name of data that is a partition of the run's other data."""


class DvcSource(DatasetSource):
    """A path below the repository's root; with the dataset's digest it names one version of the data."""

    def __init__(self, path: str) -> None:
        self.path = path

    @staticmethod
    def _get_source_type() -> str:
        return "dvc"

    def load(self) -> Any:
        raise TypeError(f"DVC holds it, not MLflow: check out the commit of the run, then: dvc pull {self.path}")

    @staticmethod
    def _can_resolve(raw_source: Any) -> bool:  # noqa: ARG004 - MLflow's interface
        return False

    @classmethod
    def _resolve(cls, raw_source: Any) -> DvcSource:
        raise TypeError(f"{raw_source!r}: a DVC source is made from a path, not found by guessing")

    def to_dict(self) -> dict[str, str]:
        return {"path": self.path}

    @classmethod
    def from_dict(cls, source_dict: dict[Any, Any]) -> DvcSource:
        return cls(source_dict["path"])


register_dataset_source(DvcSource)


def dataset_input(name: str, *, digest: str, source: str, context: str) -> DatasetInput:
    """An input for ``MlflowClient.log_inputs``.

    Raises:
        ValueError: the digest is empty or has more than 36 characters.
    """
    if not 0 < len(digest) <= DIGEST_LIMIT:
        raise ValueError(
            f"digest of dataset {name!r} = {digest!r}: must have 1 to {DIGEST_LIMIT} characters, has {len(digest)}; "
            "take it from tasks.versions.out_digest"
        )
    dataset = MetaDataset(DvcSource(source), name=name, digest=digest)
    return DatasetInput(dataset._to_mlflow_entity(), [InputTag(CONTEXT_TAG, context)])
