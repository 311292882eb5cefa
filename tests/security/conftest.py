"""Copies of the audit's scripts with programs of the tests' own on the PATH."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

REPOSITORY = Path(__file__).parents[2]

PIP_AUDIT = """
import json, os, pathlib, sys
here = pathlib.Path(__file__).parent
with (here / "asked").open("a") as log:
    log.write(json.dumps(sys.argv[1:]) + "\\n")
file = sys.argv[sys.argv.index("--requirement") + 1]
answer = json.loads((here / "answers.json").read_text())["lock" if file.endswith(".lock") else "probe"]
sys.stdout.write(answer["out"])
sys.stderr.write(answer["err"])
sys.exit(answer["code"])
"""


@dataclass(frozen=True)
class Scripts:
    """A folder with a copy of `.ci`, and what is on the PATH of its scripts."""

    root: Path
    programs: Path

    def program(self, name: str, content: str) -> None:
        """Put a Python program on the PATH."""
        self._write(name, f"#!{sys.executable}\n{content}")

    def shell_program(self, name: str, content: str) -> None:
        self._write(name, f"#!/bin/sh\n{content}")

    def link(self, *names: str) -> None:
        """Put programs of this computer on the PATH."""
        for name in names:
            found = shutil.which(name)
            assert found, name
            (self.programs / name).symlink_to(found)

    def answers(self, *, lock: Mapping[str, Any], probe: Mapping[str, Any]) -> None:
        """Put a pip-audit on the PATH that answers so."""
        self.program("pip-audit", PIP_AUDIT)
        (self.programs / "answers.json").write_text(json.dumps({"lock": lock, "probe": probe}))

    @property
    def asked(self) -> list[list[str]]:
        """The arguments of pip-audit, for each time that it ran."""
        return [json.loads(line) for line in (self.programs / "asked").read_text().splitlines()]

    def accept(self, text: str) -> None:
        (self.root / ".ci" / "audit-exceptions.toml").write_text(text)

    def run(self, *command: str) -> subprocess.CompletedProcess[str]:
        # Of the environment nothing else: no address of an index, no proxy.
        environment = {"PATH": str(self.programs), "HOME": str(self.root), "LC_ALL": "C.UTF-8"}
        return subprocess.run(
            command, cwd=self.root, env=environment, capture_output=True, text=True, timeout=120, check=False
        )

    def _write(self, name: str, content: str) -> None:
        file = self.programs / name
        file.unlink(missing_ok=True)
        file.write_text(content)
        file.chmod(0o755)


@pytest.fixture
def scripts(tmp_path: Path) -> Scripts:
    made = Scripts(tmp_path / "project", tmp_path / "programs")
    shutil.copytree(REPOSITORY / ".ci", made.root / ".ci", ignore=shutil.ignore_patterns("__pycache__"))
    made.programs.mkdir()
    made.link("bash", "dirname", "cat")
    made.shell_program("python", f'exec {sys.executable} -B "$@"')
    made.accept("")
    (made.root / "requirements.lock").write_text("good==1.0\nbad==2.0\n")
    return made


@pytest.fixture
def audit_module(monkeypatch: pytest.MonkeyPatch) -> Any:
    """A module of `.ci` by its name."""
    monkeypatch.syspath_prepend(str(REPOSITORY / ".ci"))

    def load(name: str) -> Any:
        import importlib

        return importlib.import_module(name)

    return load
