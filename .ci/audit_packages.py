"""Ask pip-audit for known vulnerabilities of the locked packages: ``python .ci/audit_packages.py``.

Exit codes:

- 0: every package was looked up; what was found is in `audit-exceptions.toml`.
- 1: a vulnerability without an exception, an exception that no longer holds, or an audit that went wrong.
- 75: the service cannot be reached or cannot be believed, so nothing is known.

"No known vulnerabilities" is also what pip-audit prints where the service knows no package at all, as a mirror may. So
first a package is asked for that is known to be vulnerable, and only a service that says so is believed.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

from audit_exceptions import FILE, ExceptionsError, Vulnerability, read

LOCK = Path(__file__).parents[1] / "requirements.lock"
KNOWN_VULNERABLE = "pyyaml==3.12"
"""Its `load` runs any code in the file, since 2018 in every list."""
COMMAND = (
    "pip-audit",
    "--vulnerability-service=osv",
    "--no-deps",
    "--disable-pip",
    "--format=json",
    "--desc=off",
    "--progress-spinner=off",
    "--timeout=15",
)
"""Asks a list of vulnerabilities about exact versions: nothing is resolved, and no index is asked."""
LIMITS = {"probe": 60.0, "lock": 600.0}
"""Seconds."""
UNREACHABLE = re.compile(r"requests\.exceptions\.|Could not connect to|urllib3\.exceptions\.|ServiceError")
"""What pip-audit's messages have in them when the service and not the audit is at fault."""
FINE, FAULT, UNKNOWN = 0, 1, 75


class UnknownError(Exception):
    """Nothing can be said about the packages."""


class FaultError(Exception):
    """The audit itself is wrong."""


@dataclass(frozen=True)
class Found:
    """A vulnerability of a package, by all its names."""

    package: str
    version: str
    ids: tuple[str, ...]
    fixed_in: tuple[str, ...]


def main() -> int:
    """Audit, print, and return the exit code."""
    try:
        _, accepted = read()
        check_service()
        packages = audited(LOCK, seconds=LIMITS["lock"])
        check_complete(packages)
    except UnknownError as error:
        print(f"pip-audit: {error}", file=sys.stderr)
        return UNKNOWN
    except (FaultError, ExceptionsError) as error:
        print(f"pip-audit: {error}", file=sys.stderr)
        return FAULT
    found = tuple(vulnerabilities(packages))
    problems = list(judged(found, accepted, today=datetime.now(UTC).date()))
    for problem in problems:
        print(f"pip-audit: {problem}", file=sys.stderr)
    print(f"pip-audit: {len(packages)} packages, {len(found)} known vulnerabilities, {len(accepted)} exceptions")
    return FAULT if problems else FINE


def check_service() -> None:
    """UnknownError unless the service names a vulnerability that everybody knows."""
    with tempfile.TemporaryDirectory(prefix="audit-") as folder:
        file = Path(folder) / "known-vulnerable.txt"
        file.write_text(f"{KNOWN_VULNERABLE}\n", encoding="utf-8")
        packages = audited(file, seconds=LIMITS["probe"])
    if not any(vulnerabilities(packages)):
        raise UnknownError(f"the service answers, but knows nothing bad about {KNOWN_VULNERABLE}: not to be believed")


def check_complete(packages: Sequence[dict[str, Any]]) -> None:
    """FaultError where a service that can be believed was not asked about every package."""
    skipped = [package["name"] for package in packages if "skip_reason" in package]
    if skipped:
        raise FaultError(f"{len(skipped)} of {len(packages)} packages were not looked up, such as {skipped[0]}")


def audited(file: Path, *, seconds: float) -> list[dict[str, Any]]:
    """What pip-audit says of each package of a requirements file."""
    try:
        done = subprocess.run(
            [*COMMAND, "--requirement", str(file)], capture_output=True, text=True, timeout=seconds, check=False
        )
    except FileNotFoundError:
        raise FaultError("not installed; run `make setup`") from None
    except subprocess.TimeoutExpired:
        raise UnknownError(f"no answer within {seconds:g} s") from None
    last = next((line.strip() for line in reversed(done.stderr.splitlines()) if line.strip()), "nothing printed")
    try:
        packages = json.loads(done.stdout)["dependencies"]
    except (ValueError, KeyError, TypeError):
        if UNREACHABLE.search(done.stderr):
            raise UnknownError(f"the service cannot be reached: {last}") from None
        raise FaultError(f"ended with exit code {done.returncode} and no result: {last}") from None
    asked = _requirements(file)
    if len(packages) != asked:
        raise FaultError(f"{file.name} names {asked} packages, but {len(packages)} were looked up")
    if (done.returncode == 0) == any(vulnerabilities(packages)):
        raise FaultError(f"exit code {done.returncode} does not fit its result")
    return packages


def _requirements(file: Path) -> int:
    lines = (line.partition("#")[0].strip() for line in file.read_text(encoding="utf-8").splitlines())
    return sum(bool(line) for line in lines)


def vulnerabilities(packages: Sequence[dict[str, Any]]) -> Iterator[Found]:
    """All that were found."""
    for package in packages:
        for one in package.get("vulns", ()):
            ids = (one["id"], *one.get("aliases", ()))
            yield Found(package["name"], package["version"], ids, tuple(one.get("fix_versions", ())))


def judged(found: Sequence[Found], accepted: Sequence[Vulnerability], *, today: date) -> Iterator[str]:
    """What makes the audit fail, in words."""
    for one in found:
        if not any(_covers(entry, one) for entry in accepted):
            fix = f"fixed in {', '.join(one.fixed_in)}" if one.fixed_in else "no version fixes it"
            yield f"{one.package} {one.version}: {' = '.join(one.ids)}; {fix}"
    for entry in accepted:
        if not any(_covers(entry, one) for one in found):
            yield f"exception {entry.id} of {entry.package}: no longer found; remove it from {FILE.name}"
        elif entry.until < today:
            yield f"exception {entry.id} of {entry.package}: was accepted until {entry.until}; look at it again"


def _covers(entry: Vulnerability, one: Found) -> bool:
    return entry.package == one.package and entry.id in one.ids


if __name__ == "__main__":
    sys.exit(main())
