"""docs/operations.md and README.md: commands, files and parameters that they name exist; systemd can start the unit."""

from __future__ import annotations

import configparser
import os
import re
import shlex
import shutil
import subprocess
import tomllib
from pathlib import Path

import pytest
import typer
from deletion import evidence_examples as examples
from pydantic import BaseModel
from typer.core import TyperGroup

from flows import cli, serving
from qunlearn.config import Params
from qunlearn.deletion import identity, ledger_place, signing
from qunlearn.deletion.states import Outcome, State

ROOT = Path(__file__).parents[2]
PAGES = {name: (ROOT / name).read_text(encoding="utf-8") for name in ("README.md", "docs/operations.md")}
OPERATIONS = PAGES["docs/operations.md"]
COMMANDS = typer.main.get_command(cli.app)
UNIT = ROOT / "deploy" / "qunlearn.service"
HOME = "/srv/qunlearn"
FENCED = re.compile(r"^```(\w*)\n(.*?)^```", re.DOTALL | re.MULTILINE)
DASHES = re.compile(r"--[a-z][a-z-]*")


def typed(text):
    """Lines of `qunlearn` in the blocks of a page: the words, and what the comment says."""
    for kind, block in FENCED.findall(text):
        if kind in ("console", "bash"):
            for line in block.splitlines():
                command, _, comment = line.removeprefix("$ ").partition("#")
                if command.startswith("qunlearn "):
                    yield shlex.split(command)[1:], comment


def named(text):
    """Words of `qunlearn` in running text, where options can lack their values."""
    plain = FENCED.sub("", text)
    return [words.split()[1:] for words in re.findall(r"`(qunlearn [^`]+)`", plain)]


def leaf(words):
    """The command that the first words name, and the rest of them."""
    command, rest = COMMANDS, list(words)
    while isinstance(command, TyperGroup) and rest and not rest[0].startswith("-"):
        assert rest[0] in command.commands, f"no command {' '.join(words)}"
        command = command.commands[rest.pop(0)]
    return command, rest


def options(command):
    return {name for one in command.params for name in (*one.opts, *one.secondary_opts)}


@pytest.mark.parametrize("page", PAGES)
def test_every_command_can_be_typed_as_it_stands(page):
    found = list(typed(PAGES[page]))
    assert len(found) >= 10
    for words, comment in found:
        command, rest = leaf(words)
        assert command.make_context("qunlearn", list(rest)).args == [], words
        assert set(DASHES.findall(comment)) <= options(command), words


@pytest.mark.parametrize("page", PAGES)
def test_every_command_in_the_text_exists(page):
    found = named(PAGES[page])
    assert found
    for words in found:
        command, rest = leaf(words)
        assert set(DASHES.findall(" ".join(rest))) <= options(command), words


def test_a_command_that_is_not_there_would_be_found():
    with pytest.raises(AssertionError, match="no command"):
        leaf(["ledger", "repair"])
    with pytest.raises(Exception, match="No such option"):
        leaf(["purge"])[0].make_context("qunlearn", ["--force"])


def test_every_command_of_the_day_takes_a_parameter_file():
    (day,) = re.findall(r"## A day in the life\n(.*?)\n## ", OPERATIONS, re.DOTALL)
    for words, _ in typed(day):
        assert "--params" in options(leaf(words)[0]), words


def test_modules_that_are_called_exist():
    for module in re.findall(r"python -m ([\w.]+)", "\n".join(PAGES.values())):
        path = ROOT.joinpath(*module.split("."))
        assert path.with_suffix(".py").is_file() or (path / "__main__.py").is_file(), module


@pytest.mark.parametrize("page", [*PAGES, "docs/gates.md", "docs/evidence.md", "docs/architecture.md"])
def test_every_link_leads_somewhere(page):
    text = FENCED.sub("", (ROOT / page).read_text(encoding="utf-8"))
    found = [target for target in re.findall(r"\]\(([^)\s]+)\)", text) if not target.startswith("http")]
    assert found
    for target in found:
        path, _, anchor = target.partition("#")
        file = (ROOT / page).parent / path if path else ROOT / page
        assert file.exists(), target
        assert not anchor or anchor in anchors(file), target


def anchors(file):
    headings = re.findall(r"^#+ (.*)$", FENCED.sub("", file.read_text(encoding="utf-8")), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", one).lower().replace(" ", "-") for one in headings}


def test_files_of_the_project_exist():
    found = set(re.findall(r"\b(deploy/[\w.]+|prefect\.yaml|docs/[\w-]+\.md)", OPERATIONS))
    assert {"deploy/backup", "deploy/restore", "deploy/qunlearn.service", "prefect.yaml"} <= found
    for name in found:
        assert (ROOT / name).is_file(), name
    for name in ("backup", "restore"):
        assert os.access(ROOT / "deploy" / name, os.X_OK)


def parameters(model, above=""):
    for name, field in model.model_fields.items():
        yield f"{above}{name}"
        kind = field.annotation
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            yield from parameters(kind, f"{above}{name}.")


def test_every_parameter_exists():
    known = set(parameters(Params))
    blocks = "|".join(Params.model_fields)
    found = set(re.findall(rf"`((?:{blocks})\.[\w.]+)", OPERATIONS))
    assert {"deletion.cron", "deletion.fallback", "deletion.gates.utility_drop", "tracking.uri"} <= found
    assert found <= known


def test_variables_are_those_of_the_program():
    found = set(re.findall(r"QUNLEARN_\w+", OPERATIONS))
    assert found == {identity.VARIABLE, signing.VARIABLE, ledger_place.VARIABLE}


def test_states_outcomes_steps_and_deployments_are_those_of_the_program():
    (day,) = re.findall(r"## A day in the life\n(.*?)\n## ", OPERATIONS, re.DOTALL)
    assert {f"`{one}`" for one in Outcome} <= set(re.findall(r"`[^`\n]+`", day))
    served = {one.name for one in serving.deployments("params.yaml", "0 3 * * *")}
    assert served == {"deletion", "submit-request", "refresh-benchmark"}
    assert all(f"`{name}`" in OPERATIONS for name in served)
    page = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    assert all(f"{one}" in page for one in State)
    steps = {path.stem for path in (ROOT / "tasks" / "deletion").glob("*.py")}
    (table,) = re.findall(r"\| step of `tasks/deletion` .*?\n\n", page, re.DOTALL)
    assert set(re.findall(r"^\| `(\w+)` \|", table, re.MULTILINE)) <= steps


def test_no_page_claims_more_than_there_is():
    assert not examples.OVERCLAIMS.search(OPERATIONS)


# --- the unit --------------------------------------------------------------------------------------------------------


def unit():
    found = configparser.RawConfigParser(strict=True)
    found.optionxform = str
    found.read_string(UNIT.read_text(encoding="utf-8"))
    return found


def test_the_unit_calls_commands_that_exist():
    service = unit()["Service"]
    scripts = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["scripts"]
    calls = re.findall(r"\.venv/bin/(\w+) (\w+)", service["ExecStart"] + service["ExecStop"])
    assert calls == [("qunlearn", "up"), ("qunlearn", "down")]
    for script, command in calls:
        assert script in scripts
        assert command in COMMANDS.commands
    assert service["WorkingDirectory"] == service["ReadWritePaths"] == HOME
    assert service["EnvironmentFile"].removeprefix("-") in OPERATIONS


def test_the_unit_reaches_this_computer_only():
    service = unit()["Service"]
    assert (service["IPAddressDeny"], service["IPAddressAllow"]) == ("any", "localhost")


def loop(folder, script):
    """Run ExecStart in a folder whose `qunlearn` is a script, without its pauses."""
    binaries = folder / ".venv" / "bin"
    binaries.mkdir(parents=True)
    (folder / "bin").mkdir()
    for file, text in ((binaries / "qunlearn", script), (folder / "bin" / "sleep", "#!/bin/sh\necho pause >> calls\n")):
        file.write_text(text)
        file.chmod(0o755)
    program, *words = shlex.split(unit()["Service"]["ExecStart"])
    environment = {"PATH": f"{folder / 'bin'}:{os.environ['PATH']}"}
    done = subprocess.run(
        [program, *words], cwd=folder, env=environment, capture_output=True, text=True, timeout=60, check=False
    )
    return done, (folder / "calls").read_text().split("\n")[:-1]


def test_the_unit_starts_again_what_has_died_and_fails_with_the_reason_when_it_cannot(tmp_path):
    script = '#!/bin/sh\necho "$@" >> calls\necho states\n[ $(grep -c up calls) -lt 3 ] || { echo why >&2; exit 1; }\n'
    done, calls = loop(tmp_path, script)
    assert calls == ["up", "pause", "up", "pause", "up"]
    assert (done.returncode, done.stdout, done.stderr) == (1, "", "why\n")


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="no systemd")
def test_systemd_understands_the_unit(tmp_path):
    program = tmp_path / ".venv" / "bin" / "qunlearn"
    program.parent.mkdir(parents=True)
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    file = tmp_path / UNIT.name
    file.write_text(UNIT.read_text(encoding="utf-8").replace(HOME, str(tmp_path)))
    done = subprocess.run(["systemd-analyze", "verify", str(file)], capture_output=True, text=True, check=False)
    assert (done.returncode, [line for line in done.stderr.splitlines() if UNIT.name in line]) == (0, [])
