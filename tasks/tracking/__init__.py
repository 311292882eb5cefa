"""Runs, models, registry and lineage in MLflow. Nothing else imports mlflow.

Everything goes through `mlflow.MlflowClient`, never through an active run, so that threads do not meet.
"""

import os

# Read when mlflow is imported, hence before it.
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")

from tasks.tracking.checkpoints import MissingCheckpointError
from tasks.tracking.connection import TrackingError
from tasks.tracking.records import CellRecord
from tasks.tracking.registry import Champion, ChampionChangedError
from tasks.tracking.run import Run
from tasks.tracking.store import Store

__all__ = [
    "CellRecord",
    "Champion",
    "ChampionChangedError",
    "MissingCheckpointError",
    "Run",
    "Store",
    "TrackingError",
]
