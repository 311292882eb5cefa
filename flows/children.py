"""Child processes end when their program is gone, however that ended: Prefect's temporary server, workers of a pool.

Prefect ends both when the program exits, and neither when it is killed. They would run for ever: the server writes
Prefect's database beside the server of the next run, the workers hold their memory and a server each. So each of them
looks at its parent once in a while: it is another process when the program has died. The children of a program that
lives are left alone, whoever else runs.

Linux has a signal for this, but it comes when the *thread* that started the child ends, not the program.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flows.pages import OwnPagesOnly

if TYPE_CHECKING:
    from prefect.server.api.server import SubprocessASGIServer

PARENT = "QUNLEARN_TEMPORARY_SERVER_OF"
"""Environment variable of a temporary server: pid of the program that started it."""
LOOK_SECONDS = 0.5
"""Between two looks at the parent."""
STOP_SECONDS = 5.0
"""How long a child may take to end by itself after SIGTERM; as long as Prefect gives its server."""


def watch_servers() -> None:
    """Let temporary servers that this process starts from now on end with it."""
    from prefect.server.api.server import SubprocessASGIServer  # noqa: PLC0415 - seconds, and needed for these only

    SubprocessASGIServer._run_uvicorn_command = _start  # type: ignore[assignment, method-assign]


def watch_worker(program: int, temporary: bool) -> None:
    """What a worker of a pool does first: it, and its temporary server if it will have one, end with the program.

    Args:
        program: pid of the process that started the pool.
        temporary: whether no Prefect server runs.
    """
    _watch(program)
    if temporary:
        watch_servers()


def create_app() -> OwnPagesOnly:
    """Prefect's application, in the process of a temporary server. It has no pages, so no origin is its own."""
    _watch(int(os.environ[PARENT]))
    # Not before: the program may be killed in the seconds that this takes.
    from prefect.server.api import server  # noqa: PLC0415

    return OwnPagesOnly(server.create_app(), [])


def _start(server: SubprocessASGIServer) -> subprocess.Popen[Any]:
    """As Prefect 3.8 does it, but for the application, the folder where that is found, and `PARENT`."""
    from prefect.settings import get_current_settings  # noqa: PLC0415 - see above

    command = [sys.executable, "-m", "uvicorn", "--app-dir", str(Path(__file__).parents[1])]
    command += ["--factory", f"{__name__}:create_app", "--host", "127.0.0.1", "--port", str(server.port)]
    command += ["--log-level", "error", "--lifespan", "on"]
    environment = os.environ | {"PREFECT_UI_ENABLED": "0", "PREFECT__SERVER_EPHEMERAL": "1"}
    environment |= {"PREFECT__SERVER_FINAL": "1", PARENT: str(os.getpid())}
    environment |= get_current_settings().to_environment_variables(exclude_unset=True)
    # In a session of its own Ctrl-C ends the program alone, which tells its last events and then ends the server.
    return subprocess.Popen(command, env=environment, start_new_session=True)


def _watch(parent: int) -> None:
    # On Windows a parent's number says nothing: it stays when the parent dies, and may be that of a launcher.
    if os.name == "posix":
        threading.Thread(target=_end_after, args=(parent,), name="watch-parent", daemon=True).start()


def _end_after(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(LOOK_SECONDS)
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(STOP_SECONDS)
    os.kill(os.getpid(), signal.SIGKILL)
