"""Where MLflow's pages are, for links from elsewhere."""

from __future__ import annotations

import json
from pathlib import Path

from qunlearn.config import Params

RECORD = Path(".servers", "mlflow.json")
"""What `qunlearn up` writes about the server that it has started, below the project's root."""


def mlflow_pages(root: Path, params: Params) -> str:
    """The address at which `qunlearn up` last showed a local database; before it ever did, the one that it will take.

    A store that is a server of its own has its pages there, see `tasks.tracking.connection`.
    """
    try:
        return str(json.loads((root / RECORD).read_text(encoding="utf-8"))["url"])
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        # A damaged record is no reason not to delete; `qunlearn up` writes it anew.
        return f"http://127.0.0.1:{params.servers.mlflow_port}"
