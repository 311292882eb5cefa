"""Somebody who uses the served model all the time, while others delete: fetches it, verifies it, looks at its ids."""

from __future__ import annotations

import json
import select
import shutil
import tempfile
from dataclasses import asdict, dataclass, field
from pathlib import Path

from deletion_project import Served

from qunlearn import checkpoint
from qunlearn.checkpoint import Checkpoint
from tasks.tracking import Champion, MissingCheckpointError

PAUSE = 0.05
"""Seconds between two readings."""


class NotServedError(ValueError):
    """There is no served model, or it is none that may be served."""


@dataclass
class Reader:
    """Reads the champion of a project.

    Args:
        root: the project.
        folder: for its copies. Not the folder for temporary files: a purge removes what it knows from there.
        readings: whole and verified models read.
        misses: times that it had to look up the alias once more.
        versions: those it read, each time another one.
        failures: what it met that nobody may meet.
    """

    root: Path
    folder: Path
    readings: int = 0
    misses: int = 0
    versions: list[int] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.served = Served(self.root)
        self.store = self.served.store

    def poll(self, until: int) -> None:
        """Read until the file descriptor `until` is closed at its other end, and once more then."""
        closed = False
        while not closed:
            closed = bool(select.select([until], [], [], PAUSE)[0])
            try:
                self.read()
            except Exception as error:  # noqa: BLE001 - whatever it is, the test will tell
                self.failures.append(f"after {self.readings} readings, {type(error).__name__}: {error}")

    def read(self) -> None:
        """Fetch and verify the champion once.

        To look up the alias and to fetch what it names are two requests to the store, and in between another version
        may have been released and the bytes of the earlier one erased. That is right: a purge that waited for readers
        would let any of them keep a person's data for ever. So who finds the bytes gone asks once more who is served.
        This excuses nothing else: bytes may be missing only where the alias has moved, and only once.
        """
        erased = self.served.erased
        champion = self._champion()
        try:
            found = self._fetched(champion)
        except MissingCheckpointError:
            named, champion = champion, self._champion()
            if champion == named:
                raise
            self.misses += 1
            found = self._fetched(champion)
        if known := erased.intersection(found.trained_ids):
            raise NotServedError(f"version {champion.version} knows {len(known)} ids that had been erased before")
        if self.versions[-1:] != [champion.version]:
            self.versions.append(champion.version)
        self.readings += 1

    def _champion(self) -> Champion:
        found = self.store.champion()
        if found is None:
            raise NotServedError("no version is served")
        return found

    def _fetched(self, champion: Champion) -> Checkpoint:
        folder = Path(tempfile.mkdtemp(dir=self.folder))
        try:
            # Verifies every file, then the weights that were loaded.
            copy = self.store.fetch(champion.digest, folder / "model", model_id=champion.model_id)
            return checkpoint.load(copy, digest=champion.digest)
        finally:
            shutil.rmtree(folder)

    def write(self, out: Path) -> None:
        """Tell what was met, as JSON."""
        told = {name: value for name, value in asdict(self).items() if name not in ("root", "folder")}
        out.write_text(json.dumps(told))
