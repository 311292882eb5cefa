"""The `qunlearn` command."""

import hashlib
import json
import os
import re
import socket
import subprocess
import sys
import time
from datetime import date

import pytest
from typer.testing import CliRunner

from flows import cli, servers, services

PARAMS = """
data: {source: digits}
split: {scenario: {kind: random, fraction: 0.1}}
seeds: [0]
unlearn: {fine_tune: {}}
deletion: {method: fine_tune}
"""


@pytest.fixture
def project(tmp_path, monkeypatch):
    (tmp_path / "params.yaml").write_text(PARAMS)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def run(monkeypatch, capsys):
    """Runs the command in this process: (exit code, stdout, stderr)."""

    def runner(*arguments):
        monkeypatch.setattr(sys, "argv", ["qunlearn", *arguments])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        captured = capsys.readouterr()
        return ended.value.code or 0, captured.out, captured.err

    return runner


def in_new_process(*arguments, cwd):
    command = [sys.executable, "-m", "flows.cli", *arguments]
    environment = {**os.environ, "PYTHONPATH": os.getcwd()}
    return subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, check=False)


def test_help_names_every_command_and_waits_for_no_library(run):
    code, out, _ = run("--help")
    assert code == 0
    for name in ("methods", "table", "up", "status", "down", "lineage", "find-models"):
        assert re.search(rf"\b{name}\b", out)


@pytest.mark.slow  # only because it is timed: slow tests run one at a time
def test_help_is_quick(tmp_path):
    begun = time.perf_counter()
    assert in_new_process("--help", cwd=tmp_path).returncode == 0
    assert time.perf_counter() - begun < 2.0


def test_starting_the_command_imports_none_of_the_slow_libraries(tmp_path):
    (tmp_path / "params.yaml").write_text(PARAMS)
    code = (
        "import sys; sys.argv = ['qunlearn', 'status']; from flows.cli import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "print(sorted({'torch', 'mlflow', 'prefect', 'brevitas'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": os.getcwd()},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.splitlines()[-1] == "[]"


@pytest.mark.usefixtures("project")
def test_status_of_nothing_is_down_with_exit_code_1(run):
    code, out, _ = run("status")
    assert code == 1
    assert {line.split()[0]: line.split()[1] for line in out.splitlines()} == dict.fromkeys(
        ("mlflow", "prefect", "deletion"), "down"
    )


@pytest.mark.parametrize("content", [PARAMS, "seeds: [0"])
def test_status_names_the_page_of_each_server_that_answers(project, run, monkeypatch, content):
    (project / "params.yaml").write_text(content)
    names = ("mlflow", "prefect", "deletion")
    up = [servers.State(name, "up", f"http://127.0.0.1:{port}", port, project) for port, name in enumerate(names, 1)]
    monkeypatch.setattr(servers, "status", lambda _root, _params: up)
    monkeypatch.setattr(services, "landing_page", lambda url, experiment: f"{url}/{experiment}")
    code, out, _ = run("status")
    shown = {line.split()[0]: line.split()[2].removeprefix("http://127.0.0.1:") for line in out.splitlines()}
    mlflow = "1/qunlearn" if content == PARAMS else f"1{services.EXPERIMENTS}"
    assert (code, shown) == (0, {"mlflow": mlflow, "prefect": "2", "deletion": "3/deployments"})


def test_status_names_overdue_requests_whether_or_not_servers_run(project, run, monkeypatch):
    from qunlearn.deletion.ledger import Asked, Ledger

    monkeypatch.delenv("QUNLEARN_LEDGER_URL", raising=False)
    asked = Asked("sample", ("all-000001-0123456789ab",), (), None, None, date(2020, 1, 31))
    request = Ledger.open(root=project).add(asked)
    code, out, err = run("status")
    assert (code, err) == (1, "")
    assert out.splitlines()[3:] == ["1 request is overdue:", f"  {request.id}  received    due 2020-01-31"]
    up = [servers.State("prefect", "up", "http://127.0.0.1:2", 2, project)]
    monkeypatch.setattr(servers, "status", lambda _root, _params: up)
    assert run("status")[0] == 0


def test_status_makes_no_ledger(project, run, monkeypatch):
    monkeypatch.delenv("QUNLEARN_LEDGER_URL", raising=False)
    assert len(run("status")[1].splitlines()) == 3
    assert [path.name for path in project.iterdir()] == ["params.yaml"]


@pytest.mark.parametrize("command", ["status", "down", "table", "up"])
def test_a_folder_without_parameters_is_no_project(project, run, monkeypatch, command):
    (project / "docs").mkdir()
    monkeypatch.chdir(project / "docs")
    told = "qunlearn: error: params.yaml: No such file or directory; run in the repository's root or name the file\n"
    assert run(command) == (1, "", told)
    assert list((project / "docs").iterdir()) == []


@pytest.mark.parametrize("content", [None, "seeds: [0"])
def test_servers_of_parameters_that_are_gone_or_broken_can_be_ended(project, run, monkeypatch, content):
    (project / "params.yaml").unlink()
    if content is not None:
        (project / "params.yaml").write_text(content)
    services.folder(project).mkdir()
    monkeypatch.setattr(servers, "down", lambda root: [root.name])
    assert run("down") == (0, f"Ended {project.name}.\n", "")


@pytest.mark.usefixtures("project")
def test_down_with_nothing_running_is_fine(run):
    assert run("down") == (0, "Nothing was running.\n", "")


@pytest.mark.usefixtures("project")
@pytest.mark.parametrize("name", ["mlflow", "prefect"])
def test_up_names_a_taken_port_and_how_to_choose_another(run, name):
    other = {"mlflow": "prefect", "prefect": "mlflow"}[name]
    with socket.socket() as stranger, socket.socket() as free:
        stranger.bind(("127.0.0.1", 0))
        stranger.listen()
        # The usual one may be taken here as well.
        free.bind(("127.0.0.1", 0))
        port, unused = (one.getsockname()[1] for one in (stranger, free))
        free.close()
        code, _, err = run("up", f"--{name}-port", str(port), f"--{other}-port", str(unused))
    assert code == 1
    assert len(err.splitlines()) == 1
    assert f"port {port}" in err
    assert f"--{name}-port" in err


@pytest.mark.parametrize("arguments", [["up"], ["lineage", "some-run"]])
@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (None, "No such file or directory"),
        ("seeds: [0", "not valid YAML"),
        (PARAMS.replace("seeds: [0]", "seeds: [0]\nspeed: 3"), "speed = 3: unknown key"),
        (PARAMS.replace("method: fine_tune", "cron: sometimes"), "sometimes"),
    ],
)
def test_unusable_parameters_are_told_without_a_traceback(project, run, arguments, content, complaint):
    (project / "params.yaml").unlink()
    if content is not None:
        (project / "params.yaml").write_text(content)
    code, out, err = run(*arguments)
    assert code == 1
    assert out == ""
    assert complaint in err
    assert all(line.startswith("qunlearn: error: params.yaml") for line in err.splitlines())


def test_a_mistake_of_ours_keeps_its_traceback(project, monkeypatch):
    # A ValueError from inside a library is nobody's input.
    monkeypatch.setattr(cli, "_params", lambda path: int(f"{path}"))
    monkeypatch.setattr(sys, "argv", ["qunlearn", "up"])
    with pytest.raises(ValueError, match="invalid literal"):
        cli.main()


def test_methods_is_a_table_of_the_registry_that_fits_into_100_columns():
    from qunlearn.unlearning import methods

    shown = CliRunner().invoke(cli.app, ["methods"])
    assert shown.exit_code == 0
    blocks = {block.split()[0]: block for block in shown.output.split("\n\n")}
    assert list(blocks) == ["method", *methods()]
    assert max(len(line) for line in shown.output.splitlines()) <= 100
    for name, method in methods().items():
        words = blocks[name].split()
        assert {method.status, *method.needs, *method.title.split(), *method.cost.split()} <= set(words), name
        assert ("first-order" in words) == method.first_order
        assert method.paper == "-" or set(method.paper.split()) <= set(words)


def test_methods_as_json_tell_what_each_is_and_may_see():
    from qunlearn.unlearning import methods

    shown = CliRunner().invoke(cli.app, ["methods", "--json"])
    rows = {row["name"]: row for row in json.loads(shown.output)}
    assert shown.exit_code == 0
    assert list(rows) == list(methods())
    assert "forget" not in rows["fine_tune"]["needs"]
    assert rows["oeu"] == {
        "name": "oeu",
        "title": "OEU: orthogonal entropy unlearning",
        "paper": "arXiv 2602.00567",
        "status": "reconstruction",
        "first_order": True,
        "needs": ["forget", "original", "retain"],
        "cost": "one pass over the retained images per epoch, and as many batches of forget images",
    }


@pytest.mark.usefixtures("project")
def test_table_before_any_evaluation_says_what_to_run(run):
    code, _, err = run("table")
    assert code == 1
    assert "run `dvc repro evaluate` first" in err


@pytest.mark.parametrize("content", ["{", "[]", ""])
def test_table_of_a_damaged_evaluation_says_so(project, run, content):
    (project / "metrics").mkdir()
    (project / "metrics" / "evaluation.json").write_text(content)
    code, out, err = run("table")
    assert (code, out) == (1, "")
    assert len(err.splitlines()) == 1
    assert "evaluation.json" in err


@pytest.fixture
def trained(project, monkeypatch):
    """A project whose store has one model, trained on one of the two prepared images; the sample's id."""
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    from qunlearn.config import TrackingConfig
    from tasks.tracking import Store

    (project / "data" / "prepared").mkdir(parents=True)
    (project / "data" / "prepared" / "ids.txt").write_text("all-000001-abc\nall-000002-def\n")
    folder = project / "checkpoint"
    folder.mkdir()
    (folder / "weights.safetensors").write_bytes(b"weights")
    (folder / "trained_ids.txt").write_text("all-000001-abc\n")
    store = Store.open(TrackingConfig(), root=project)
    digest = hashlib.sha256(b"weights").hexdigest()
    with store.stage("pretrain", store.pipeline("ab" * 32, params={})) as run:
        run.output_model(folder, name="original-seed0", digest=digest, tags={"method": "original", "seed": "0"})
    return "all-000001-abc"


def test_find_models_lists_the_models_that_were_trained_on_a_sample(trained, run):
    code, out, _ = run("find-models", "--sample", trained[:10])
    assert code == 0
    assert out.splitlines()[0] == f"sample {trained}"
    assert out.splitlines()[2].split()[:4] == ["stored", "original-seed0", "original", "0"]


def test_find_models_as_json_is_json(trained, run):
    code, out, _ = run("find-models", "--sample", trained, "--json")
    content = json.loads(out)
    assert (code, content["sample"]) == (0, trained)
    (model,) = content["models"]
    assert set(model) == {"state", "name", "method", "seed", "digest", "model_id", "created", "url"}
    assert model["url"].startswith("http://127.0.0.1:5000/#/experiments/")


def test_find_models_of_a_sample_that_no_model_knows_says_so(trained, run):
    code, out, _ = run("find-models", "--sample", "all-000002-def")
    assert (code, out) == (0, "sample all-000002-def\nNo model whose training images are known was trained on it.\n")


def test_find_models_of_an_unknown_sample_is_one_line_and_exit_code_1(trained, run):
    code, out, err = run("find-models", "--sample", "all-000003-abc")
    assert (code, out, len(err.splitlines())) == (1, "", 1)
    assert "not in data/prepared/ids.txt" in err
