"""Which folder a command is about: that of its parameter file, whether or not the parameters can be used."""

from __future__ import annotations

from pathlib import Path

from flows.services import folder
from qunlearn.config import load


def project_folder(params_file: Path) -> Path:
    """The project's folder.

    Servers must end and events be read though somebody has broken the parameters meanwhile, so these are not checked.

    Raises:
        ConfigError: there is no such file, nor was a server ever started beside it: this is no project.
    """
    root = params_file.resolve().parent
    if not params_file.exists() and not folder(root).is_dir():
        load(params_file)  # says so
    return root
