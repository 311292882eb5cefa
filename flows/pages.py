"""Who may talk to Prefect: programs on this computer and Prefect's own pages, no other page in somebody's browser.

A password, if the user wants one, is Prefect's own affair (`has_password`). The rest needs none.

Who can change a deployment can run any code, so a page of another site must not reach the server through the browser of
any person on this computer. Two rules close all ways:

- *Host* must name this computer. A page whose name was made to point at 127.0.0.1 (DNS rebinding) still sends its own.
- *Origin*, which browsers send with every change and with every WebSocket, must be that of the pages. Programs send
  none. CORS alone would only hide the answers: a POST without a content type needs no leave to be sent.
"""

from __future__ import annotations

import base64
import os
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Receive, Scope, Send

SETTING = "QUNLEARN_PREFECT_PAGES"
"""Environment variable: another address under which a proxy shows the pages, such as https://prefect.example.org."""
PASSWORD, CLIENT_PASSWORD = "PREFECT_SERVER_API_AUTH_STRING", "PREFECT_API_AUTH_STRING"
"""Prefect's settings for a password, `user:password`: what its server asks for, and what its clients send."""
HOSTS = ("127.0.0.1", "localhost", "[::1]")
ADDRESS = re.compile(r"https?://([a-z0-9.-]+|\[[0-9a-f:.]+\])(:[0-9]{1,5})?")
REFUSED = b"refused: only programs on this computer and Prefect's own pages may ask; see QUNLEARN_PREFECT_PAGES\n"


class PagesError(ValueError):
    """Settings for Prefect's pages or its password that cannot be used."""


def public_address() -> str | None:
    """The address in the environment; None without one.

    Raises:
        PagesError: it is no origin, or one that browsers would write otherwise.
    """
    given = os.environ.get(SETTING, "")
    if given and not ADDRESS.fullmatch(given):
        raise PagesError(
            f"{SETTING}={given!r} is no address of pages; write http:// or https://, the host in lower case, a port "
            "only if it is not the usual one, with nothing behind: https://prefect.example.org"
        )
    return given or None


def origins(url: str) -> tuple[str, ...]:
    """Where the pages of the server at `url` (http://127.0.0.1:PORT) may be open.

    Raises:
        PagesError: see `public_address`.
    """
    public = public_address()
    local = (url, f"http://localhost:{urlsplit(url).port}")
    return local if public is None else (*local, public)


def has_password() -> bool:
    """Whether Prefect asks for a password.

    Raises:
        PagesError: the server would ask for another one than its clients send.
    """
    asked, sent = os.environ.get(PASSWORD, ""), os.environ.get(CLIENT_PASSWORD, "")
    if asked != sent:
        raise PagesError(f"{PASSWORD} and {CLIENT_PASSWORD} differ; give both the same `user:password`, or unset both")
    return bool(asked)


def authorization() -> dict[str, str]:
    """The header with the password of the environment; none without one."""
    sent = os.environ.get(CLIENT_PASSWORD, "")
    return {"Authorization": f"Basic {base64.b64encode(sent.encode()).decode()}"} if sent else {}


class OwnPagesOnly:
    """An ASGI application that lets through to `app` what programs on this computer and own pages ask.

    Everything else gets 403, before `app` sees it; a WebSocket is refused with the same number.
    """

    def __init__(self, app: ASGIApp, own: Sequence[str]) -> None:
        """
        Args:
            app: what is guarded.
            own: origins of the pages; their hosts may be asked for, too.
        """
        self.app = app
        self.origins = frozenset(origin.encode() for origin in own)
        hosts = {*HOSTS, *(_host(origin) for origin in own)}
        self.host = re.compile(f"({'|'.join(map(re.escape, sorted(hosts)))})(:[0-9]{{1,5}})?", re.IGNORECASE)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan" or self._is_allowed(scope["headers"]):
            await self.app(scope, receive, send)
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008})
        else:
            headers = [(b"content-type", b"text/plain"), (b"content-length", str(len(REFUSED)).encode())]
            await send({"type": "http.response.start", "status": 403, "headers": headers})
            await send({"type": "http.response.body", "body": REFUSED})

    def _is_allowed(self, headers: Sequence[tuple[bytes, bytes]]) -> bool:
        hosts = [value for name, value in headers if name == b"host"]
        asking = [value for name, value in headers if name == b"origin"]
        # Two Hosts would be an attempt to show one to us and the other to the application.
        if len(hosts) != 1 or not self.host.fullmatch(hosts[0].decode("latin-1")):
            return False
        return all(origin in self.origins for origin in asking)


def _host(origin: str) -> str:
    """The host of an origin without its port; IPv6 keeps its brackets."""
    return re.sub(r":[0-9]+$", "", origin.partition("://")[2])
