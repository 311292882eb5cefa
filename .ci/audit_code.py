"""Run bandit over our code: ``python .ci/audit_code.py``. Exit code 1 for a finding without an exception.

Findings of any severity count. A line that is accepted has an entry with its reason in `audit-exceptions.toml`.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from audit_exceptions import FILE, Code, ExceptionsError, read

ROOT = Path(__file__).parents[1]
FOLDERS = ("flows", "qunlearn", "tasks", "studies", "benchmarks")
LIMIT = 300.0
"""Seconds."""


class AuditError(Exception):
    """Bandit could not look at everything."""


@dataclass(frozen=True)
class Finding:
    """What bandit says of a line; `text` is what stands there."""

    rule: str
    file: str
    number: int
    text: str
    says: str


def main() -> int:
    """Look, print, and return the exit code."""
    try:
        accepted, _ = read()
        found = findings(ROOT)
    except (ExceptionsError, AuditError) as error:
        print(f"bandit: {error}", file=sys.stderr)
        return 1
    problems = list(judged(found, accepted))
    for problem in problems:
        print(f"bandit: {problem}", file=sys.stderr)
    print(f"bandit: {' '.join(FOLDERS)}: {len(found)} findings, {len(accepted)} exceptions")
    return 1 if problems else 0


def findings(root: Path) -> list[Finding]:
    """All findings below `root`; AuditError where bandit is missing or a file could not be looked at."""
    command = ["bandit", "--quiet", "--recursive", "--ignore-nosec", "--format=json", "--configfile=pyproject.toml"]
    try:
        done = subprocess.run(
            [*command, *FOLDERS], cwd=root, capture_output=True, text=True, timeout=LIMIT, check=False
        )
        report = json.loads(done.stdout)
    except FileNotFoundError:
        raise AuditError("not installed; run `make setup`") from None
    except subprocess.TimeoutExpired:
        raise AuditError(f"not done within {LIMIT:g} s") from None
    except ValueError:
        raise AuditError(f"exit code {done.returncode} and no report: {done.stderr.strip()[-500:]}") from None
    if report["errors"]:
        raise AuditError("; ".join(f"{one['filename']}: {one['reason']}" for one in report["errors"]))
    searched = [path for path in report["metrics"] if path != "_totals"]
    if missing := [folder for folder in FOLDERS if not any(path.startswith(f"{folder}/") for path in searched)]:
        raise AuditError(f"nothing was looked at in {', '.join(missing)}")
    lines = {one["filename"]: (root / one["filename"]).read_text(encoding="utf-8") for one in report["results"]}
    return [
        Finding(
            one["test_id"],
            one["filename"],
            one["line_number"],
            lines[one["filename"]].splitlines()[one["line_number"] - 1],
            one["issue_text"],
        )
        for one in report["results"]
    ]


def judged(found: Sequence[Finding], accepted: Sequence[Code]) -> Iterator[str]:
    """What makes the audit fail, in words."""
    for one in found:
        if not any(_covers(entry, one) for entry in accepted):
            yield f"{one.file}:{one.number}: {one.rule}: {one.says}\n    {one.text.strip()}"
    for entry in accepted:
        if not any(_covers(entry, one) for one in found):
            yield f"{FILE.name}: {entry.rule} in {entry.file}, {entry.line!r}: no longer found; remove the entry"


def _covers(entry: Code, one: Finding) -> bool:
    return (entry.rule, entry.file) == (one.rule, one.file) and entry.line in one.text


if __name__ == "__main__":
    sys.exit(main())
