"""Where Chromium is on this computer."""

from __future__ import annotations

import os
import shutil

VARIABLE = "QUNLEARN_CHROMIUM"
COMMANDS = ("chromium", "chromium-browser", "google-chrome")
MISSING = (
    f"no Chromium: set {VARIABLE} to its path, or install one that is found as {', '.join(COMMANDS)} "
    "(`make browser-setup` does so on Debian and Ubuntu)"
)


def find() -> str | None:
    """Path of the browser; None where there is none.

    Raises:
        ValueError: the environment variable names a file that cannot be run.
    """
    given = os.environ.get(VARIABLE)
    if given:
        if (found := shutil.which(given)) is None:
            raise ValueError(f"{VARIABLE} = {given!r}: no such program; name the browser's file, or unset the variable")
        return found
    return next((found for name in COMMANDS if (found := shutil.which(name))), None)
