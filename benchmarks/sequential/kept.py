"""Finished models of one seed on the disk: figures as JSON lines, weights as checkpoints."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import nn

from benchmarks.sequential.ground import Ground
from qunlearn import checkpoint
from qunlearn.checkpoint import Checkpoint

Row = dict[str, Any]


class OtherSettingsError(ValueError):
    """The folder holds models that were made with other settings."""


class Kept:
    """What is finished is found again, by a key that names the model and the one that it was made from.

    Raises:
        OtherSettingsError: `folder` was begun with other settings.
    """

    def __init__(self, folder: Path, *, settings: Mapping[str, Any]) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        text = json.dumps(settings, indent=1, sort_keys=True) + "\n"
        known = folder / "settings.json"
        if known.is_file() and known.read_text(encoding="utf-8") != text:
            raise OtherSettingsError(f"{folder}: begun with other settings; remove it, or name another with --keep")
        known.write_text(text, encoding="utf-8")
        self._lines = folder / "models.jsonl"
        self._rows = {row["key"]: row for row in self._read()}

    def find(self, key: str) -> Row | None:
        return self._rows.get(key)

    def add(self, key: str, row: Mapping[str, Any]) -> Row:
        """Keep the figures of a model; its weights, where they are needed again, must be kept before."""
        line = {"key": key, **row}
        with self._lines.open("a", encoding="utf-8") as sink:
            sink.write(json.dumps(line, allow_nan=False) + "\n")
        self._rows[key] = line
        return line

    def save(self, key: str, model: nn.Module, ground: Ground, *, request: int) -> str:
        """Keep weights; the digest of the checkpoint."""
        trained = ground.named(ground.retained(request))
        return checkpoint.save(model, self._place(key), blueprint=ground.blueprint, trained_ids=trained)

    def load(self, key: str) -> Checkpoint:
        return checkpoint.load(self._place(key), digest=self._rows[key]["digest"])

    def _place(self, key: str) -> Path:
        return self.folder / "models" / hashlib.sha256(key.encode()).hexdigest()[:16]

    def _read(self) -> list[Row]:
        if not self._lines.is_file():
            return []
        whole, _, rest = self._lines.read_text(encoding="utf-8").rpartition("\n")
        if rest:
            # A run that was killed while it wrote: the line is made again.
            self._lines.write_text(whole + "\n" if whole else "", encoding="utf-8")
        return [json.loads(line) for line in whole.splitlines()]
