"""What `.ci/audit` makes of each answer of pip-audit: never "no vulnerabilities" where nothing was looked up."""

from __future__ import annotations

import json
import re

import pytest

OLD = {"name": "pyyaml", "version": "3.12", "vulns": [{"id": "PYSEC-2018-49", "aliases": ["CVE-2017-18342"]}]}
GOOD = {"name": "good", "version": "1.0", "vulns": []}
BAD = {"name": "bad", "version": "2.0", "vulns": [{"id": "PYSEC-1", "aliases": ["CVE-1"], "fix_versions": ["2.1"]}]}
FINE = {**BAD, "vulns": []}
TRACEBACK = """Traceback (most recent call last):
  File "requests/adapters.py", line 729, in send
requests.exceptions.ConnectionError: Failed to resolve
"""


def answer(*packages, code=None, err=""):
    found = any(one.get("vulns") for one in packages)
    return {
        "out": json.dumps({"dependencies": packages, "fixes": []}),
        "err": err,
        "code": found if code is None else code,
    }


def skipped(one):
    return {"name": one["name"], "skip_reason": "Dependency not found on PyPI and could not be audited"}


BROKEN = {"out": "", "err": TRACEBACK, "code": 1}
BELIEVED = answer(OLD)


def accepted(**changes):
    entry = {"id": "PYSEC-1", "package": "bad", "until": "2999-01-01", "reason": "never called"} | changes
    until = entry.pop("until")
    return (
        "[[vulnerability]]\n" + "\n".join(f'{key} = "{value}"' for key, value in entry.items()) + f"\nuntil = {until}\n"
    )


@pytest.fixture
def audit(scripts):
    """Runs `.ci/audit`, where bandit finds nothing."""
    metrics = {"_totals": {}} | {f"{name}/x.py": {} for name in ("flows", "qunlearn", "tasks", "studies", "benchmarks")}
    scripts.program("bandit", f"print({json.dumps(json.dumps({'errors': [], 'results': [], 'metrics': metrics}))})")

    def run(*, lock, probe=BELIEVED, exceptions=""):
        scripts.answers(lock=lock, probe=probe)
        scripts.accept(exceptions)
        code = scripts.run("python", ".ci/audit_packages.py").returncode
        done = scripts.run(".ci/audit")
        # One path for what is not known, and one for what is.
        assert done.returncode == (0 if code == 75 else code)
        assert ("NOT AUDITED" in done.stderr) == (code == 75)
        assert not (code == 75 and "vulnerabilities" in done.stdout)
        return code, done.stdout + done.stderr

    return run


def test_packages_without_vulnerabilities_pass(audit):
    code, text = audit(lock=answer(GOOD, FINE))
    assert code == 0
    assert "pip-audit: 2 packages, 0 known vulnerabilities, 0 exceptions" in text


def test_a_vulnerability_fails_with_its_names_and_the_version_that_mends_it(audit):
    code, text = audit(lock=answer(GOOD, BAD))
    assert code == 1
    assert "bad 2.0: PYSEC-1 = CVE-1; fixed in 2.1" in text


@pytest.mark.parametrize("name", ["PYSEC-1", "CVE-1"])
def test_a_vulnerability_with_an_exception_passes(audit, name):
    assert audit(lock=answer(GOOD, BAD), exceptions=accepted(id=name))[0] == 0


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"package": "good"}, "bad 2.0: PYSEC-1"),
        ({"id": "PYSEC-2"}, "bad 2.0: PYSEC-1"),
        ({"id": "PYSEC-2"}, "exception PYSEC-2 of bad: no longer found"),
        ({"until": "2020-01-01"}, "was accepted until 2020-01-01; look at it again"),
    ],
)
def test_an_exception_that_does_not_hold_fails(audit, changes, why):
    code, text = audit(lock=answer(GOOD, BAD), exceptions=accepted(**changes))
    assert code == 1
    assert why in text


@pytest.mark.parametrize(
    "text",
    [
        accepted(reason=" "),
        accepted(until='"soon"'),
        accepted(until="2999-01-01T00:00:00"),
        accepted(extra="x"),
        "[[vulnerability]]\nid = 'x'\n",
        "[[vulnerabilty]]\n",
        "[[",
    ],
)
def test_a_list_of_exceptions_that_is_not_complete_fails(scripts, text):
    scripts.answers(lock=answer(GOOD, FINE), probe=BELIEVED)
    scripts.accept(text)
    done = scripts.run("python", ".ci/audit_packages.py")
    assert (done.returncode, len(done.stderr.splitlines())) == (1, 1)
    assert "audit-exceptions.toml: " in done.stderr


@pytest.mark.parametrize(
    ("probe", "why"),
    [
        (BROKEN, "cannot be reached: requests.exceptions.ConnectionError"),
        (
            {**BROKEN, "err": "ERROR: Could not connect to OSV's vulnerability feed\nERROR: Tip: blocked"},
            "cannot be reached",
        ),
        (answer(skipped(OLD)), "knows nothing bad about pyyaml==3.12: not to be believed"),
        (answer({**OLD, "vulns": []}), "not to be believed"),
    ],
)
def test_a_service_that_is_not_there_or_not_to_be_believed_is_told_loudly_and_is_no_failure(audit, scripts, probe, why):
    code, text = audit(lock=answer(GOOD, FINE), probe=probe)
    assert code == 75
    assert why in text
    # Nor is it asked about the other packages then.
    assert not any(one.endswith(".lock") for words in scripts.asked for one in words)


def test_a_service_that_goes_away_meanwhile_is_told_loudly_too(audit):
    assert audit(lock=BROKEN)[0] == 75


@pytest.mark.parametrize(
    ("lock", "why"),
    [
        ({"out": "", "err": "TypeError: boom\n", "code": 1}, "no result: TypeError: boom"),
        ({"out": "", "err": "", "code": 0}, "exit code 0 and no result"),
        (answer(GOOD, skipped(BAD)), "1 of 2 packages were not looked up, such as bad"),
        (answer(GOOD), "names 2 packages, but 1 were looked up"),
        (answer(GOOD, BAD, code=0), "does not fit its result"),
        (answer(GOOD, FINE, code=1), "does not fit its result"),
    ],
)
def test_an_audit_that_went_wrong_fails(audit, lock, why):
    code, text = audit(lock=lock)
    assert code == 1
    assert why in text


def test_without_the_program_it_fails(scripts):
    done = scripts.run("python", ".ci/audit_packages.py")
    assert (done.returncode, done.stderr) == (1, "pip-audit: not installed; run `make setup`\n")


def test_a_service_that_is_silent_is_not_waited_for(scripts, audit_module, monkeypatch, capsys):
    module = audit_module("audit_packages")
    scripts.program("pip-audit", "import time; time.sleep(60)")
    monkeypatch.setenv("PATH", str(scripts.programs))
    monkeypatch.setattr(module, "LIMITS", {"probe": 0.2, "lock": 0.2})
    assert module.main() == module.UNKNOWN
    assert "no answer within 0.2 s" in capsys.readouterr().err


def test_exact_versions_are_asked_for_and_no_index_is_named(audit, scripts):
    audit(lock=answer(GOOD, FINE))
    for words in scripts.asked:
        assert {"--no-deps", "--disable-pip", "--vulnerability-service=osv"} <= set(words)
        assert not re.search(r"index|://", " ".join(words))
