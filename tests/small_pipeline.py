"""The settings of a pipeline on real digits that runs in seconds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

STAGES = ("ingest", "split", "pretrain", "retrain", "unlearn", "evaluate", "report")

SMALL: dict[str, Any] = {
    "data": {"source": "digits", "subset": 400},
    "split": {"scenario": {"kind": "random", "fraction": 0.1}},
    "seeds": [0, 1],
    "model": {"name": "resnet8", "width": 4},
    "quantization": {"quantizer": "lsq"},
    "training": {"epochs": 2, "batch_size": 64, "learning_rate": 0.05, "crop_padding": 0, "flip": False},
    "unlearn": {"fine_tune": {"epochs": 1}, "qmul": {"epochs": 1}, "oeu": {"epochs": 1}},
    "evaluate": {"bootstrap": 20},
    "deletion": {"method": "oeu"},
}


def write_params(folder: Path, content: dict[str, Any]) -> Path:
    path = folder / "params.yaml"
    path.write_text(yaml.safe_dump(content, sort_keys=False))
    return path
