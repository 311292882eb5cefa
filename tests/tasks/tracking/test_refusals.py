"""An MLflow server that refuses us, or is not there: one line that says what to do and repeats no password."""

from __future__ import annotations

import http.server
import threading

import pytest

from qunlearn.config import TrackingConfig
from tasks.tracking.connection import TrackingError, connect, without_credentials


class Refusing(http.server.BaseHTTPRequestHandler):
    """Healthy, and answers 401 or 403 to all that MLflow's client asks."""

    code = 401

    def _answer(self):
        healthy = self.path.startswith("/health")
        self.send_response(200 if healthy else self.code)
        self.end_headers()
        self.wfile.write(b"OK" if healthy else b"no")

    do_GET = do_POST = _answer  # noqa: N815 - the names that http.server asks for

    def log_message(self, *_):
        pass


@pytest.fixture
def server(request):
    handler = type("Handler", (Refusing,), {"code": request.param})
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as made:
        threading.Thread(target=made.serve_forever, daemon=True).start()
        yield f"127.0.0.1:{made.server_port}"
        made.shutdown()


@pytest.mark.parametrize("server", [401, 403], indirect=True)
def test_an_account_that_may_not_write_is_told_what_to_set(server, tmp_path, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://ada:secret@{server}")
    with pytest.raises(TrackingError, match="MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD") as refused:
        connect(TrackingConfig(), root=tmp_path)
    assert f"http://{server} refuses access" in str(refused.value)
    assert "secret" not in str(refused.value)


def test_a_server_that_is_not_there_is_named_without_its_password(tmp_path, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://ada:secret@127.0.0.1:9")
    with pytest.raises(TrackingError, match="no server answers") as refused:
        connect(TrackingConfig(), root=tmp_path)
    assert "secret" not in str(refused.value)


@pytest.mark.parametrize(
    ("text", "public"),
    [
        ("http://ada:pass%40word@host:5000/x", "http://host:5000/x"),
        ("see https://host/a@b and http://u@h", "see https://host/a@b and http://h"),
        ("sqlite:///mlflow.db", "sqlite:///mlflow.db"),
    ],
)
def test_addresses_without_accounts(text, public):
    assert without_credentials(text) == public
