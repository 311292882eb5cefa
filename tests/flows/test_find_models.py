"""`qunlearn find-models` leads to the pages that evidence leads to."""

from __future__ import annotations

import json

import pytest
import yaml
from typer.testing import CliRunner

from flows import cli, processes, services
from flows.processes import Process


def pages(served) -> set[str]:
    """Where the models' pages are, as the command prints them."""
    words = ["find-models", "--sample", served.training_ids[0], "--json", "--params", served.params_file]
    done = CliRunner().invoke(cli.app, words)
    assert done.exit_code == 0, done.output
    return {model["url"].partition("/#/")[0] for model in json.loads(done.stdout)["models"]}


@pytest.fixture
def port(served) -> int:
    """That of the parameters, which is not MLflow's own."""
    params = yaml.safe_load((served.root / "params.yaml").read_text())
    params["servers"] = {"mlflow_port": 5007}
    (served.root / "params.yaml").write_text(yaml.safe_dump(params))
    return 5007


@pytest.mark.usefixtures("plainly")
def test_pages_are_at_the_port_of_the_parameters_until_a_server_was_started_elsewhere(served, port):
    assert pages(served) == {f"http://127.0.0.1:{port}"}
    services.folder(served.root).mkdir(exist_ok=True)
    # That it has ended meanwhile changes nothing: evidence leads there, too.
    ended = Process(1, "", (), "http://127.0.0.1:5999", since=0, mark="")
    processes.write(ended, services.folder(served.root) / "mlflow.json")
    assert pages(served) == {"http://127.0.0.1:5999"}
