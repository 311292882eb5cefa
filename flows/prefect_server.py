"""Prefect's server as `qunlearn up` starts it, with `OwnPagesOnly` in front; Prefect has no setting for that.

Does what `prefect server start` does in the foreground, by Prefect's own settings.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence

import uvicorn
from prefect.server.api.server import create_app
from prefect.settings import get_current_settings

from flows.pages import OwnPagesOnly


def serve(host: str, port: int, origins: Sequence[str]) -> None:
    """Serve API, pages and background services until this process is ended.

    Args:
        host: where to listen.
        port: where to listen.
        origins: where the pages may be open.
    """
    settings = get_current_settings().server
    uvicorn.run(
        OwnPagesOnly(create_app(final=True), origins),
        host=host,
        port=port,
        timeout_keep_alive=settings.api.keepalive_timeout,
        ws_ping_interval=settings.api.websocket_ping_interval,
        ws_ping_timeout=settings.api.websocket_ping_timeout,
        log_level=settings.logging_level.lower(),
        # Background services start with the application; by default uvicorn would go on without them.
        lifespan="on",
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--host", required=True)
    parser.add_argument("--port", required=True, type=int)
    # Prefect itself reads it; here it makes the command another one, so that `up` notices the difference.
    parser.add_argument("--password", action="store_true", help="the environment has one")
    parser.add_argument("--pages", required=True, nargs="+", metavar="ORIGIN")
    options = parser.parse_args()
    serve(options.host, options.port, options.pages)
