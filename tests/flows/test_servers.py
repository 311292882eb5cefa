"""`up`, `status` and `down`, on small stand-in servers; the real ones are in test_real_servers.py."""

import http.server
import json
import os
import socket
import sys
import threading
import time
from dataclasses import replace

import pytest

from flows import processes, servers, services
from flows.processes import Process
from flows.servers import ServerError
from flows.services import Service, get_json
from qunlearn.config import Params, TrackingConfig

SERVER = """
import http.server, sys
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200); self.end_headers(); self.wfile.write(b"true")
http.server.ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
"""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.fixture
def params():
    return Params.model_validate(
        {
            "data": {"source": "digits"},
            "split": {"scenario": {"kind": "random", "fraction": 0.1}},
            "seeds": [0],
            "unlearn": {"oeu": {}},
            "servers": {"mlflow_port": free_port(), "prefect_port": free_port(), "start_timeout": 20},
        }
    )


@pytest.fixture
def stand_in(monkeypatch):
    """Replaces all three commands by a small web server, the deletion process by a sleep."""
    answers = dict.fromkeys(("mlflow", "prefect"), services._prefect_answers) | {"deletion": Process.alive}
    commands = {"mlflow": (sys.executable, "-c", SERVER), "prefect": (sys.executable, "-c", SERVER)}

    def build(root, params, params_file, mlflow_port, prefect_port):
        built = []
        for name, asked in (("mlflow", mlflow_port), ("prefect", prefect_port)):
            url = services._address(root, name, asked, getattr(params.servers, f"{name}_port"))
            command = (*commands[name], services.port_of(url))
            built.append(Service(name, command, dict(os.environ), url, answers[name]))
        sleep = (sys.executable, "-c", f"import time; time.sleep(60) # {params.deletion.cron}")
        built.append(Service("deletion", sleep, dict(os.environ), built[1].url, answers["deletion"], restarts=True))
        return built

    monkeypatch.setattr(servers, "services_of", build)
    monkeypatch.setattr(servers, "ANSWERS", answers)
    monkeypatch.setattr(servers, "create_store", lambda _root, _params: None)
    return commands


@pytest.fixture
def project(tmp_path):
    yield tmp_path
    servers.down(tmp_path)


def up(project, params, **options):
    return servers.up(project, params, params_file=project / "params.yaml", **options)


def states(project):
    return {state.name: state.state for state in servers.status(project)}


ALL_UP = dict.fromkeys(("mlflow", "prefect", "deletion"), "up")
ALL_DOWN = dict.fromkeys(("mlflow", "prefect", "deletion"), "down")


@pytest.mark.usefixtures("stand_in")
def test_up_starts_everything_and_down_ends_it(project, params):
    found = up(project, params)
    assert {state.name: state.state for state in found} == ALL_UP
    assert found[0].url == f"http://127.0.0.1:{params.servers.mlflow_port}"
    assert servers.down(project) == ["deletion", "prefect", "mlflow"]
    assert states(project) == ALL_DOWN
    assert servers.down(project) == []


@pytest.mark.usefixtures("stand_in")
def test_a_second_up_starts_nothing(project, params):
    begun = []
    first = up(project, params, announce=begun.append)
    assert begun == ["mlflow", "prefect", "deletion"]
    assert up(project, params, announce=begun.append) == first
    assert len(begun) == 3


@pytest.mark.usefixtures("stand_in")
def test_a_later_up_without_ports_keeps_those_that_run(project, params):
    port = free_port()
    first = up(project, params, mlflow_port=port)
    assert first[0].url.endswith(f":{port}")
    assert up(project, params) == first


@pytest.mark.usefixtures("stand_in")
def test_another_port_for_a_running_server_is_an_error_that_says_what_to_do(project, params):
    up(project, params)
    with pytest.raises(ServerError, match=r"prefect already runs with other settings at .*qunlearn down"):
        up(project, params, prefect_port=free_port())
    assert states(project) == ALL_UP


@pytest.mark.usefixtures("stand_in")
def test_another_cron_restarts_only_the_deletion_process(project, params):
    before = {state.name: state.pid for state in up(project, params)}
    changed = params.model_copy(update={"deletion": params.deletion.model_copy(update={"cron": "1 1 1 1 1"})})
    after = {state.name: state.pid for state in up(project, changed)}
    assert [name for name in before if before[name] != after[name]] == ["deletion"]


@pytest.mark.usefixtures("stand_in")
@pytest.mark.parametrize("name", ["mlflow", "prefect"])
def test_a_taken_port_is_named_with_the_way_to_change_it_and_nothing_starts(project, params, name):
    port = getattr(params.servers, f"{name}_port")
    with socket.socket() as stranger:
        stranger.bind(("127.0.0.1", port))
        stranger.listen()
        with pytest.raises(ServerError, match=rf"port {port} .*--{name}-port.*servers\.{name}_port"):
            up(project, params)
    assert states(project) == ALL_DOWN


def test_a_server_that_ends_at_once_is_told_with_its_last_words_and_the_others_are_ended(project, params, stand_in):
    stand_in["prefect"] = (sys.executable, "-c", "import sys; sys.exit('no room left')")
    with pytest.raises(ServerError, match=r"prefect ended right after its start.*prefect\.log.*no room left"):
        up(project, params)
    assert states(project) == ALL_DOWN


def test_a_server_that_never_answers_is_given_up_after_the_time_limit(project, params, stand_in):
    stand_in["mlflow"] = (sys.executable, "-c", "import time; time.sleep(60)")
    hurried = params.model_copy(update={"servers": params.servers.model_copy(update={"start_timeout": 0.5})})
    with pytest.raises(ServerError, match=r"mlflow did not answer within 0\.5 s"):
        up(project, hurried)
    assert states(project) == ALL_DOWN


@pytest.mark.usefixtures("stand_in")
def test_down_leaves_a_process_alone_that_only_has_the_recorded_pid(project, params):
    up(project, params)
    path = servers.folder(project) / "mlflow.json"
    real = processes.read(path)
    processes.write(replace(real, started="an earlier boot", mark="another"), path)
    assert servers.down(project) == ["deletion", "prefect"]
    assert real.alive()
    processes.stop(real)


@pytest.mark.usefixtures("stand_in")
def test_what_was_killed_is_down_and_up_starts_only_that(project, params):
    before = {state.name: state.pid for state in up(project, params)}
    processes.stop(processes.read(servers.folder(project) / "mlflow.json"))
    assert states(project) == {**ALL_UP, "mlflow": "down"}
    after = {state.name: state.pid for state in up(project, params)}
    assert [name for name in before if before[name] != after[name]] == ["mlflow"]


@pytest.mark.usefixtures("stand_in")
def test_two_ups_at_once_start_each_server_once(project, params):
    begun, found = [], []

    def run():
        found.append(up(project, params, announce=begun.append))

    threads = [threading.Thread(target=run) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(begun) == ["deletion", "mlflow", "prefect"]
    assert found[0] == found[1]


@pytest.mark.usefixtures("stand_in")
def test_flows_find_the_server_only_while_it_lives(project, params, monkeypatch):
    monkeypatch.delenv("PREFECT_API_URL", raising=False)
    assert servers.prefect_url(project) is None
    up(project, params)
    assert servers.prefect_url(project) == f"http://127.0.0.1:{params.servers.prefect_port}/api"
    servers.down(project)
    assert servers.prefect_url(project) is None


@pytest.mark.usefixtures("stand_in")
def test_prefect_api_sets_the_address_for_flows_inside_and_takes_it_back(project, params, monkeypatch):
    from prefect.settings import PREFECT_API_URL

    monkeypatch.delenv("PREFECT_API_URL", raising=False)
    up(project, params)
    before = PREFECT_API_URL.value()
    with servers.prefect_api(project) as url:
        assert PREFECT_API_URL.value() == url == servers.prefect_url(project)
    assert PREFECT_API_URL.value() == before


@pytest.mark.usefixtures("stand_in")
def test_an_address_in_the_environment_wins(project, params, monkeypatch):
    up(project, params)
    monkeypatch.setenv("PREFECT_API_URL", "http://127.0.0.1:1/api")
    with servers.prefect_api(project) as url:
        assert url == "http://127.0.0.1:1/api"


# --- the real commands -----------------------------------------------------------------------------------------------


def built(tmp_path, params, **ports):
    ports = {"mlflow_port": None, "prefect_port": None, **ports}
    return {s.name: s for s in services.services_of(tmp_path, params, tmp_path / "params.yaml", **ports)}


def test_everything_listens_on_loopback_only(tmp_path, params):
    for name in ("mlflow", "prefect"):
        command = built(tmp_path, params)[name].command
        assert command[command.index("--host") + 1] == "127.0.0.1"


def test_mlflow_serves_the_store_of_the_stages_and_no_bytes(tmp_path, params, monkeypatch):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    command = built(tmp_path, params)["mlflow"].command
    assert command[command.index("--backend-store-uri") + 1] == params.tracking.uri
    assert "--no-serve-artifacts" in command


def test_a_database_in_the_environment_is_what_mlflow_serves(tmp_path, params, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "sqlite:////elsewhere/mlflow.db")
    assert "sqlite:////elsewhere/mlflow.db" in built(tmp_path, params)["mlflow"].command


def test_a_tracking_server_elsewhere_is_not_said_to_be_down(tmp_path, params):
    remote = params.model_copy(update={"tracking": TrackingConfig(uri="http://127.0.0.1:9")})
    assert {one.name: one.state for one in servers.status(tmp_path, remote)} == {**ALL_DOWN, "mlflow": "elsewhere"}
    assert {one.name: one.state for one in servers.status(tmp_path, params)} == ALL_DOWN


def test_a_tracking_server_elsewhere_needs_none_here(tmp_path, params, monkeypatch):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    tracking = params.tracking.model_copy(update={"uri": "http://mlflow.example.org"})
    assert list(built(tmp_path, params.model_copy(update={"tracking": tracking}))) == ["prefect", "deletion"]


def test_the_pages_of_prefect_ask_the_port_that_was_chosen(tmp_path, params, monkeypatch):
    monkeypatch.setenv("PREFECT_API_URL", "http://elsewhere/api")
    environment = built(tmp_path, params, prefect_port=4999)["prefect"].environment
    assert environment["PREFECT_SERVER_UI_API_URL"] == "http://127.0.0.1:4999/api"
    assert "PREFECT_API_URL" not in environment


def test_the_pages_of_prefect_are_those_that_ask_no_other_computer(tmp_path, params, monkeypatch):
    monkeypatch.setenv("PREFECT_SERVER_UI_V2_ENABLED", "true")
    assert built(tmp_path, params)["prefect"].environment["PREFECT_SERVER_UI_V2_ENABLED"] == "false"


def test_the_flows_are_served_through_that_server(tmp_path, params):
    service = built(tmp_path, params, prefect_port=4999)["deletion"]
    assert service.environment["PREFECT_API_URL"] == "http://127.0.0.1:4999/api"
    assert service.command[-2:] == (str(tmp_path / "params.yaml"), params.deletion.cron)


def test_both_servers_on_one_port_are_refused(tmp_path, params):
    with pytest.raises(ServerError, match="cannot both have"):
        built(tmp_path, params, mlflow_port=4999, prefect_port=4999)


class Deployment(http.server.BaseHTTPRequestHandler):
    """Knows all deployments, and when a process has asked for their work; `late` is one that nobody asks for."""

    last_polled: str | None = None
    late: str | None = None

    def do_GET(self):
        name = self.path.removeprefix("/api/deployments/name/")
        assert name in services.DEPLOYMENTS
        self.send_response(200)
        self.end_headers()
        self.wfile.write(json.dumps({"last_polled": None if name == self.late else self.last_polled}).encode())

    def log_message(self, *arguments):
        pass


@pytest.mark.parametrize(
    ("seconds_ago", "expected"), [(None, False), (1, True), (50, False), (services.POLL_SECONDS + 50, False)]
)
def test_the_process_of_the_flows_answers_once_it_has_asked_for_work(monkeypatch, seconds_ago, expected):
    assert polled(monkeypatch, seconds_ago) is expected


@pytest.mark.parametrize("late", services.DEPLOYMENTS)
def test_it_does_not_answer_before_it_has_asked_for_the_work_of_every_deployment(monkeypatch, late):
    monkeypatch.setattr(Deployment, "late", late)
    assert polled(monkeypatch, 1) is False


@pytest.mark.parametrize(("seconds_ago", "expected"), [(1, True), (services.POLL_SECONDS + 50, False)])
def test_it_answers_though_the_clock_was_set_back(monkeypatch, seconds_ago, expected):
    assert polled(monkeypatch, seconds_ago, started=-3600.0) is expected


def polled(monkeypatch, seconds_ago, *, started=20.0):
    """Whether a process that was started `started` seconds ago answers, when it asked for work `seconds_ago`."""
    now = time.time()
    stamp = None if seconds_ago is None else time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(now - seconds_ago))
    monkeypatch.setattr(Deployment, "last_polled", stamp)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Deployment) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}"
        process = processes.Process(1, "", (), url, since=now - started, mark="")
        found = services._deletion_answers(process)
        server.shutdown()
    return found


class Experiments(http.server.BaseHTTPRequestHandler):
    """Knows one experiment, as MLflow does."""

    def do_GET(self):
        known = self.path == "/api/2.0/mlflow/experiments/get-by-name?experiment_name=a%20%26%20b"
        self.send_response(200 if known else 404)
        self.end_headers()
        self.wfile.write(json.dumps({"experiment": {"experiment_id": "7"}}).encode())

    def log_message(self, *arguments):
        pass


@pytest.mark.parametrize(("name", "page"), [("a & b", "experiments/7/models"), ("unknown", "experiments")])
def test_mlflow_opens_at_the_models_of_the_experiment_once_there_is_one(name, page):
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Experiments) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}"
        assert services.landing_page(url, name) == f"{url}/#/{page}?workflowType=machine_learning"
        server.shutdown()


def test_nothing_behind_an_address_is_no_answer():
    assert get_json(f"http://127.0.0.1:{free_port()}/") is None


def test_a_proxy_of_the_environment_is_not_asked(monkeypatch):
    monkeypatch.setattr(Deployment, "last_polled", None)
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Deployment) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        assert get_json(f"http://127.0.0.1:{server.server_port}/api/deployments/name/deletion/deletion") == {
            "last_polled": None
        }
        server.shutdown()
