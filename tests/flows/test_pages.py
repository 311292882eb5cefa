"""Which requests reach Prefect: `OwnPagesOnly` and its settings. The real server is in test_prefect_server.py."""

import asyncio
import base64

import pytest

from flows import pages
from flows.pages import OwnPagesOnly, PagesError, origins

URL = "http://127.0.0.1:4200"
OWN = ("127.0.0.1:4200", "localhost:4200", "localhost", "LOCALHOST:9", "[::1]:4200")
FOREIGN = ("evil.example", "evil.example:4200", "127.0.0.1.evil.example", "localhost.evil.example:4200", "127.0.0.2")
ODD = ("", "127.0.0.1:4200@evil.example", "evil.example#127.0.0.1", "127.0.0.1:x", "127x0.0.1", "localhost\n")


@pytest.fixture(autouse=True)
def environment(monkeypatch):
    for name in (pages.SETTING, pages.PASSWORD, pages.CLIENT_PASSWORD):
        monkeypatch.delenv(name, raising=False)


def asked(*headers, kind="http"):
    """What the guarded application, or the guard, sends first for these headers."""
    sent = []

    async def app(scope, receive, send):
        await send({"type": "reached"})

    async def send(message):
        sent.append(message)

    async def receive():
        raise AssertionError("nothing is to be read")

    scope = {"type": kind, "headers": [(name.encode(), value.encode()) for name, value in headers]}
    asyncio.run(OwnPagesOnly(app, origins(URL))(scope, receive, send))
    return sent[0].get("status", sent[0]["type"])


@pytest.mark.parametrize("host", OWN)
def test_a_program_on_this_computer_gets_through(host):
    assert asked(("host", host)) == "reached"


@pytest.mark.parametrize("host", [*FOREIGN, *ODD])
def test_a_name_that_was_made_to_point_here_is_refused(host):
    assert asked(("host", host)) == 403


def test_a_request_needs_one_host_exactly():
    assert asked() == 403
    assert asked(("host", "127.0.0.1"), ("host", "evil.example")) == 403
    assert asked(("host", "127.0.0.1"), ("host", "127.0.0.1")) == 403


@pytest.mark.parametrize("origin", [URL, "http://localhost:4200"])
def test_its_own_pages_get_through(origin):
    assert asked(("host", "127.0.0.1:4200"), ("origin", origin)) == "reached"


@pytest.mark.parametrize(
    "origin",
    ["https://evil.example", "null", "", "http://localhost:5000", "https://localhost:4200", f"{URL}.evil.example", "*"],
)
@pytest.mark.parametrize("kind", ["http", "websocket"])
def test_other_pages_do_not_whatever_they_ask(origin, kind):
    expected = {"http": 403, "websocket": "websocket.close"}[kind]
    assert asked(("host", "127.0.0.1:4200"), ("origin", origin), kind=kind) == expected
    assert asked(("host", "127.0.0.1:4200"), ("origin", URL), ("origin", origin), kind=kind) == expected


def test_a_websocket_needs_the_host_too():
    assert asked(("host", "evil.example"), kind="websocket") == "websocket.close"
    assert asked(("host", "localhost:4200"), kind="websocket") == "reached"


def test_the_start_of_the_server_gets_through():
    assert asked(kind="lifespan") == "reached"


@pytest.mark.parametrize(
    ("address", "host"), [("https://p.example.org", "p.example.org"), ("http://[fd00::1]:8080", "[fd00::1]:8080")]
)
def test_the_address_of_a_proxy_is_added(monkeypatch, address, host):
    assert asked(("host", host)) == 403
    monkeypatch.setenv(pages.SETTING, address)
    assert asked(("host", host), ("origin", address)) == "reached"
    assert asked(("host", "127.0.0.1:4200"), ("origin", URL)) == "reached"
    assert asked(("host", f"x{host}"), ("origin", address)) == 403


@pytest.mark.parametrize(
    "address", ["*", "p.example.org", "https://p.example.org/", "https://P.example.org", "https://a,https://b", "null"]
)
def test_an_address_that_no_browser_would_send_is_an_error(monkeypatch, address):
    monkeypatch.setenv(pages.SETTING, address)
    with pytest.raises(PagesError, match=rf"{pages.SETTING}=.*https://prefect\.example\.org$"):
        origins(URL)


def test_a_password_is_the_same_for_the_server_and_its_clients(monkeypatch):
    assert not pages.has_password()
    assert pages.authorization() == {}
    monkeypatch.setenv(pages.PASSWORD, "user:secret")
    with pytest.raises(PagesError, match=f"{pages.CLIENT_PASSWORD} differ") as raised:
        pages.has_password()
    assert "secret" not in str(raised.value)
    monkeypatch.setenv(pages.CLIENT_PASSWORD, "user:secret")
    assert pages.has_password()
    assert base64.b64decode(pages.authorization()["Authorization"].removeprefix("Basic ")) == b"user:secret"
