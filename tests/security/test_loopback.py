"""Whatever `qunlearn up` starts listens on 127.0.0.1 and nowhere else, whatever the environment asks for."""

from __future__ import annotations

import pytest

from flows.services import services_of
from qunlearn.config import ConfigError, Params, validate

CONTENT = {
    "data": {"source": "digits"},
    "split": {"scenario": {"kind": "random", "fraction": 0.1}},
    "seeds": [0],
    "unlearn": {"oeu": {}},
}
EVERYWHERE = {
    "MLFLOW_HOST": "0.0.0.0",
    "MLFLOW_PORT": "80",
    "PREFECT_SERVER_API_HOST": "0.0.0.0",
    "PREFECT_SERVER_HOST": "0.0.0.0",
    "UVICORN_HOST": "0.0.0.0",
    "HOST": "0.0.0.0",
}
LOOPBACK = "127.0.0.1"


@pytest.fixture
def started(tmp_path, monkeypatch):
    """The services by name, in an environment that asks for every interface."""
    for name, value in EVERYWHERE.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    params = validate(Params, CONTENT, where="test")
    made = services_of(tmp_path, params, tmp_path / "params.yaml", None, None)
    return {service.name: service for service in made}


def test_nothing_but_the_two_servers_is_given_an_address_to_listen_on(started):
    assert {"mlflow", "prefect"} < set(started)
    for name in set(started) - {"mlflow", "prefect"}:
        assert not {"--host", "--port", "-h", "-p"} & set(started[name].command)


@pytest.mark.parametrize("name", ["mlflow", "prefect"])
def test_a_server_is_told_to_listen_on_loopback(started, name):
    command = started[name].command
    assert command.count("--host") == 1
    assert command[command.index("--host") + 1] == LOOPBACK
    assert started[name].url.startswith(f"http://{LOOPBACK}:")
    # No way around it: a second address, or options for the web server beneath that would win over the first.
    assert not [
        word for word in command if "0.0.0.0" in word or word.startswith(("--uvicorn", "--gunicorn", "--waitress"))
    ]


def test_the_pages_of_prefect_ask_the_server_on_loopback(started):
    assert started["prefect"].environment["PREFECT_SERVER_UI_API_URL"].startswith(f"http://{LOOPBACK}:")
    assert started["deletion"].environment["PREFECT_API_URL"].startswith(f"http://{LOOPBACK}:")


@pytest.mark.parametrize("block", [{"host": "0.0.0.0"}, {"mlflow_host": "0.0.0.0"}, {"prefect_port": "0.0.0.0:4200"}])
def test_no_parameter_says_otherwise(block):
    with pytest.raises(ConfigError, match="servers"):
        validate(Params, {**CONTENT, "servers": block}, where="test")
