"""Deletions that are killed, and carried on by another process each time, while somebody reads the champion.

    python -m deletion_deaths '{"original": "<project>", "folder": "<new>", "stories": [{"name": "undisturbed"}]}'

One process imports everything and then forks; it opens no store itself. A story is a copy of the project, and processes
one after the other that run the deletion flow and die by SIGKILL; a last one carries the work to its end:

    {"name": ...}                                        nobody dies
    {"name": ..., "after": "committed"}                  one dies after this act (see `deletion_acts`)
    {"name": ..., "each": true}                          one dies after each act, until there is no new one left
    {"name": ..., "moment": 0.4}                         one dies when this part of an undisturbed run's time is over
    {"name": ..., "programs": [1.5, 0.5]}                `python -m flows.deletion` dies so many seconds after its claim

The first story must be an undisturbed one. A process that has ended before its moment was not killed: then the story is
told anew, with a shorter time. Prints a JSON object for each story, with "error" where a process ended as it must not.
"""

from __future__ import annotations

import importlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from deletion_acts import Acts
from deletion_look import look
from deletion_project import copied, plain_steps
from deletion_reader import Reader
from forks import OWN, PATIENCE, StoryError, ended, fork, forked
from prefect.logging import disable_run_logger
from prefect.settings import PREFECT_API_URL, temporary_settings

from flows import deletion as flow_module

LAZY = (
    "dvc.repo",
    "dvc.api",
    "alembic.command",
    "sqlalchemy.dialects.sqlite",
    "mlflow.store.tracking.sqlalchemy_store",
)
"""Modules that are imported when they are needed: here once, and not in every process."""
MOST = 60
"""Deaths in one story."""
BEFORE = "before the first act"
BEGUN = ": 3 requests, "
"""In what the program tells when it has claimed its batch; its time begins there."""


@dataclass
class Story:
    """One copy of the project, and what happens to it."""

    original: Path
    folder: Path
    plan: dict[str, Any]
    lasts: float
    after: list[dict[str, Any]] = field(default_factory=list)
    """What was seen after each death."""

    def __post_init__(self) -> None:
        self.root = copied(self.original, self.folder / "project")
        # The purge tells of what other projects' deaths left in this folder: other stories' must not be in it.
        self.temporary = self.folder / "temporary"
        self.temporary.mkdir()
        self.notes = self.folder / "acts"
        self.groups: list[int] = []

    def tell(self) -> dict[str, Any]:
        """Let it happen."""
        os.environ["TMPDIR"] = tempfile.tempdir = str(self.temporary)
        with self._reader() as reading:
            died = self._programs() if "programs" in self.plan else self._workers()
        acts = self.notes.read_text().splitlines() if self.notes.exists() else []
        read, end = json.loads(reading.read_text()), self._look(whole=True)
        return {**self.plan, "died": died, "after": self.after, "acts": acts, "reader": read, "end": end}

    def _workers(self) -> list[str]:
        """The acts after which processes died; the last process was left in peace."""
        died: list[str] = []
        while len(died) < MOST:
            last, moment = (None, None) if died else self._fate()
            known = died if self.plan.get("each") else None
            begun = time.monotonic()
            code = forked(lambda: worker(self.root, self.notes, last, known), kill_after=moment)  # noqa: B023
            if code == 0:
                if not died:
                    self.lasts = time.monotonic() - begun
                return died
            if code != -signal.SIGKILL:
                raise StoryError(f"after {len(died)} deaths a process ended with {code}")
            died.append(self.notes.read_text().splitlines()[-1] if self.notes.exists() else BEFORE)
            self.after.append(self._look(whole=False))
        raise StoryError(f"after {MOST} deaths there was still something new to die after")

    def _fate(self) -> tuple[str | None, float | None]:
        """The act after which the next process dies, or the seconds until then."""
        moment = self.plan.get("moment")
        return self.plan.get("after"), None if moment is None else moment * self.lasts

    def _programs(self) -> list[str]:
        """The program, killed once for each number of seconds; what they were. The last one is left in peace."""
        died = []
        try:
            for seconds in self.plan["programs"]:
                process, log = self._program(len(died))
                while BEGUN not in log.read_text() and process.poll() is None:
                    time.sleep(0.02)
                time.sleep(seconds)
                # Alone: its temporary Prefect server ends by itself.
                process.kill()
                if process.wait() != -signal.SIGKILL:
                    raise StoryError(f"the program had ended before it could be killed: {log.read_text()[-2000:]}")
                died.append(f"{seconds} s")
                self.after.append(self._look(whole=False))
            process, log = self._program(len(died))
            if process.wait(PATIENCE):
                raise StoryError(f"the program failed: {log.read_text()[-2000:]}")
            return died
        finally:
            # A test that has failed leaves nobody behind.
            for group in self.groups:
                with suppress(ProcessLookupError):
                    os.killpg(group, signal.SIGKILL)

    def _program(self, number: int) -> tuple[subprocess.Popen[bytes], Path]:
        log = self.folder / f"program-{number}.log"
        environment = os.environ | {"PREFECT_HOME": str(self.folder / "prefect"), "DO_NOT_TRACK": "1"}
        # `BEGUN` is told at this level, whatever whoever runs the tests wants to read.
        environment |= {"PREFECT_SERVER_ANALYTICS_ENABLED": "false", "PREFECT_LOGGING_LEVEL": "INFO"}
        with log.open("wb") as file:
            process = subprocess.Popen(
                [sys.executable, "-m", "flows.deletion"],
                cwd=self.root,
                env=environment,
                stdout=file,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self.groups.append(process.pid)
        return process, log

    def _look(self, *, whole: bool) -> dict[str, Any]:
        out = self.folder / "seen.json"
        if forked(lambda: look(self.root, out, whole=whole)):
            raise StoryError(f"after {len(self.after)} deaths there was nothing to be seen")
        return dict(json.loads(out.read_text()))

    @contextmanager
    def _reader(self) -> Iterator[Path]:
        """Somebody reads while the block runs; what they met is in the file then."""
        out, copies = self.folder / "read.json", self.folder / "copies"
        copies.mkdir()
        closed, held = os.pipe()

        def read() -> None:
            os.close(held)
            reader = Reader(self.root, copies)
            reader.poll(closed)
            reader.write(out)

        pid = fork(read)
        os.close(closed)
        OWN.add(held)
        try:
            yield out
        finally:
            OWN.discard(held)
            os.close(held)
            code = ended(pid)
        if code:
            raise StoryError(f"the reader ended with {code}")


def worker(root: Path, notes: Path, last: str | None, known: list[str] | None) -> None:
    """The flow, once, in this process."""
    Acts(notes, last=last, known=known).watch()
    plain_steps(setattr)
    with disable_run_logger(), temporary_settings(restore_defaults={PREFECT_API_URL}):
        flow_module.deletion.fn(str(root / "params.yaml"))


def main() -> None:
    plan = json.loads(sys.argv[1])
    for name in LAZY:
        importlib.import_module(name)
    original, folder, lasts, number = Path(plan["original"]), Path(plan["folder"]), 0.0, 0
    for one in plan["stories"]:
        while True:
            story, number = Story(original, folder / str(number), one, lasts), number + 1
            try:
                told = story.tell()
            except StoryError as error:
                told = one | {"error": str(error)}
            if "error" in told or told["died"] or "moment" not in one:
                break
            # It was quicker than the undisturbed one, as nothing had to be read from the disk.
            lasts = min(lasts, story.lasts) * 0.9
        lasts = lasts or story.lasts
        print(json.dumps(told), flush=True)


if __name__ == "__main__":
    main()
