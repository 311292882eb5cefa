"""`.ci/audit_code.py` on small trees: what bandit finds fails unless the list of exceptions has it, with a reason."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import pytest

FAULT = "import subprocess\nsubprocess.run(input(), shell=True)\n"


@pytest.fixture
def audit(scripts):
    """Runs the script over a file of this content, and faultless ones beside it."""
    (scripts.programs / "bandit").symlink_to(Path(sys.executable).with_name("bandit"))
    shutil.copy(Path(__file__).parents[2] / "pyproject.toml", scripts.root)
    for name in ("flows", "qunlearn", "tasks", "studies", "benchmarks"):
        (scripts.root / name).mkdir()
        (scripts.root / name / "file.py").write_text("X = 1\n")

    def run(content, *, exceptions=""):
        (scripts.root / "tasks" / "file.py").write_text(content)
        scripts.accept(exceptions)
        done = scripts.run("python", ".ci/audit_code.py")
        return done.returncode, done.stdout + done.stderr

    return run


def accepted(*, rule="B602", file="tasks/file.py", line="shell=True", reason="as a test"):
    return f'[[code]]\nrule = "{rule}"\nfile = "{file}"\nline = "{line}"\nreason = "{reason}"\n'


def test_faultless_code_passes(audit):
    assert audit("X = 2\n") == (0, "bandit: flows qunlearn tasks studies benchmarks: 0 findings, 0 exceptions\n")


@pytest.mark.parametrize("comment", ["", "  # nosec", "  # nosec B602"])
def test_a_fault_fails_whatever_a_comment_says(audit, comment):
    code, text = audit(FAULT.replace("True)", f"True){comment}"))
    assert code == 1
    assert "tasks/file.py:2: B602: subprocess call with shell=True" in text
    assert "subprocess.run(input(), shell=True)" in text


def test_a_fault_with_an_exception_passes(audit):
    assert audit(FAULT, exceptions=accepted())[0] == 0


@pytest.mark.parametrize(
    "changes", [{"rule": "B604"}, {"file": "flows/file.py"}, {"line": "shell=False"}, {"rule": "B604", "line": ""}]
)
def test_an_exception_for_something_else_fails(audit, changes):
    assert audit(FAULT, exceptions=accepted(**changes))[0] == 1


def test_an_exception_for_nothing_fails(audit):
    code, text = audit("X = 2\n", exceptions=accepted())
    assert code == 1
    assert "B602 in tasks/file.py, 'shell=True': no longer found" in text


def test_an_exception_without_a_reason_fails(audit):
    code, text = audit(FAULT, exceptions=accepted(reason=""))
    assert code == 1
    assert "reason = '' must be a str, and not empty" in text


def test_a_file_that_cannot_be_looked_at_fails(audit):
    code, text = audit("def broken(:\n")
    assert code == 1
    assert "tasks/file.py: syntax error" in text


def test_a_folder_in_which_nothing_is_looked_at_fails(audit, scripts):
    (scripts.root / "studies" / "file.py").unlink()
    code, text = audit("X = 2\n")
    assert code == 1
    assert "nothing was looked at in studies" in text


def test_the_list_in_force_has_a_reason_for_each_entry(audit_module):
    code, vulnerabilities = audit_module("audit_exceptions").read()
    assert len(code) + len(vulnerabilities) > 0
    assert all(len(entry.reason.split()) >= 5 for entry in (*code, *vulnerabilities))
