"""A deletion and a release where the store must not be written, each in a process that had not opened it before.

    python -m deletion_readonly <project> <model to release>

A process that has a database open goes on writing to a file that is closed meanwhile; so this one imports everything,
opens no store, and forks. Prints one JSON object: for each case and command the exit code, what was printed, and
whether any file of the project changed.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import permission_bits
from deletion_project import Served, plain_steps, run
from forks import forked
from prefect.logging import disable_run_logger
from prefect.settings import PREFECT_API_URL, temporary_settings

from flows import cli
from flows.errors import is_ours, tell
from tasks import deletion, release  # noqa: F401 - before the first fork

CASES = {"database": "mlflow.db", "folder": ".", "folder with locks": "."}
"""What is closed -> its path in the project."""


@contextmanager
def closed(path: Path) -> Iterator[None]:
    """What is there can be read, but not written."""
    mode = path.stat().st_mode
    path.chmod(0o500 if path.is_dir() else 0o444)
    try:
        with permission_bits.binding():
            yield
    finally:
        path.chmod(mode)


def content(root: Path) -> dict[str, str]:
    """All files with their digests, but locks."""
    files = (path for path in sorted(root.rglob("*")) if path.is_file() and path.suffix != ".lock")
    return {str(path): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def deleted(root: Path) -> None:
    """As `python -m flows.deletion`, without a server of Prefect."""
    try:
        run(Served(root))
    except Exception as error:
        if not is_ours(error):
            raise
        tell("deletion", error)
        sys.exit(1)


def released(root: Path, model: str) -> None:
    sys.argv = ["qunlearn", "release", model, "--params", str(root / "params.yaml")]
    cli.main()


def said(act: Callable[[], None], log: Path) -> dict[str, object]:
    """How a process that does it ends, and what it prints."""

    def work() -> None:
        with log.open("wb") as file:
            os.dup2(file.fileno(), 1)
            os.dup2(file.fileno(), 2)
        try:
            act()
        except SystemExit as ended:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(int(ended.code or 0))

    return {"code": forked(work), "printed": log.read_text()}


def main() -> None:
    root, model = Path(sys.argv[1]).resolve(), sys.argv[2]
    log, before, told = root.with_name("printed"), content(root), []
    plain_steps(setattr)
    commands = {"deletion": lambda: deleted(root), "qunlearn": lambda: released(root, model)}
    with disable_run_logger(), temporary_settings(restore_defaults={PREFECT_API_URL}):
        for case, place in CASES.items():
            for who, act in commands.items():
                shutil.rmtree(root / ".servers", ignore_errors=True)
                if case != "folder":
                    (root / ".servers").mkdir()
                with closed(root / place):
                    result = said(act, log)
                    told.append({"case": case, "who": who, **result, "unchanged": content(root) == before})
    print(json.dumps(told))


if __name__ == "__main__":
    main()
