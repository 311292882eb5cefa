"""Git as a subprocess: in the repository of a folder, whoever called us, and never for longer than it is given."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

PREFIX = "GIT_"
KEPT = frozenset(
    {
        *(f"GIT_{who}_{what}" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")),
        *("GIT_CONFIG_GLOBAL", "GIT_CONFIG_SYSTEM", "GIT_CONFIG_NOSYSTEM"),
        *("GIT_CEILING_DIRECTORIES", "GIT_DISCOVERY_ACROSS_FILESYSTEM"),
    }
)
"""Who commits, the user's own settings, and how far up to look: none of these leads into another repository."""
GRACE = 5.0
"""Seconds that git has to remove its lock files once it was told to end."""


class GitError(ValueError):
    """Git was ended, since it took too long."""


def git(root: Path, *arguments: str, timeout: float) -> str | None:
    """What git prints when it runs in `root`; None where it fails or there is none.

    Args:
        timeout: seconds. Git and what it started, such as a hook, are ended after that.

    Raises:
        GitError: it did not end in time.
    """
    try:
        process = subprocess.Popen(
            ["git", *arguments],
            cwd=root,
            env=own_environment(os.environ),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            # A group of its own: a hook would outlive git, and keep its output open.
            start_new_session=True,
        )
    except FileNotFoundError:
        return None
    try:
        printed, _ = process.communicate(timeout=timeout)
    except subprocess.TimeoutExpired:
        _end(process)
        raise GitError(
            f"git did not end within {timeout:g} s; a hook, a signing program or a lock may hold it"
        ) from None
    except BaseException:
        _end(process)
        raise
    return printed.decode("utf-8", errors="replace").strip() if process.returncode == 0 else None


def repository_of(root: Path) -> Path | None:
    """The folder at or above `root` with a repository in it, usable or not; None where git would find none.

    Where `git` only fails, this tells whether there is nothing to use or something that it cannot use.
    """
    root = root.resolve()
    ceilings = os.environ.get("GIT_CEILING_DIRECTORIES", "").split(os.pathsep)
    device = root.stat().st_dev
    for folder in (root, *root.parents):
        # Git looks neither there nor further up.
        if folder != root and str(folder) in ceilings:
            return None
        if folder.stat().st_dev != device and "GIT_DISCOVERY_ACROSS_FILESYSTEM" not in os.environ:
            return None
        if os.path.lexists(folder / ".git"):
            return folder
    return None


def own_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """Without the variables that git sets for its hooks, which name the repository, the index and settings of another
    command."""
    return {name: value for name, value in environment.items() if not name.startswith(PREFIX) or name in KEPT}


def _end(process: subprocess.Popen[bytes]) -> None:
    """End git and what it started."""
    _signal(process.pid, signal.SIGTERM)
    with suppress(subprocess.TimeoutExpired):
        process.wait(GRACE)
    _signal(process.pid, signal.SIGKILL)
    process.wait()
    if process.stdout is not None:
        process.stdout.close()


def _signal(group: int, number: signal.Signals) -> None:
    try:
        os.killpg(group, number)
    except ProcessLookupError:
        return  # nobody of it is left
