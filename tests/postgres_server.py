"""Debian's PostgreSQL, started for tests: on a free port of loopback, in a folder of its own, as no privileged user."""

from __future__ import annotations

import contextlib
import ctypes
import importlib.util
import itertools
import os
import pwd
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

MISSING = (
    "no PostgreSQL: neither on the PATH nor in /usr/lib/postgresql (Debian: apt-get install postgresql), "
    "or its driver is missing (pip install 'qunlearn[postgres]')"
)
PATIENCE = 60.0
"""Seconds for start and end."""
AT_ONCE = signal.SIGQUIT
"""PostgreSQL's immediate shutdown."""
SET_DEATH_SIGNAL = 1
"""prctl's PR_SET_PDEATHSIG."""


@dataclass(frozen=True)
class Server:
    """A running server.

    Args:
        port: on 127.0.0.1.
        password: of the user `qunlearn`.
    """

    port: int
    password: str
    _numbers: Iterator[int] = field(default_factory=lambda: itertools.count(1))

    def url(self, database: str = "postgres", **changed: Any) -> str:
        """The address of a database, as a user would write it."""
        parts = {"user": "qunlearn", "password": self.password, "port": self.port} | changed
        return f"postgresql://{parts['user']}:{parts['password']}@127.0.0.1:{parts['port']}/{database}"

    def new_place(self) -> str:
        """The address of an empty schema: in it nothing of other ledgers is seen, and it is made at once."""
        name = f"ledger_{next(self._numbers)}"
        self._execute(f"CREATE SCHEMA {name}")
        return f"{self.url()}?options=-csearch_path%3D{name}"

    def new_database(self, *, encoding: str = "UTF8") -> str:
        """The address of a new, empty database; takes its time."""
        name = f"ledger_{next(self._numbers)}"
        self._execute(f"CREATE DATABASE {name} ENCODING '{encoding}' TEMPLATE template0")
        return self.url(name)

    def _execute(self, statement: str) -> None:
        import psycopg

        with psycopg.connect(self.url(), autocommit=True) as connection:
            connection.execute(statement)


def find() -> Path | None:
    """The folder with `initdb` and `postgres`; None where there is none, or no driver to use them with."""
    if importlib.util.find_spec("psycopg") is None:
        return None
    on_path = shutil.which("postgres")
    candidates = [Path(on_path).resolve().parent] if on_path else []
    candidates += sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: float(path.parent.name))[::-1]
    return next((one for one in candidates if (one / "initdb").exists() and (one / "postgres").exists()), None)


@contextlib.contextmanager
def running(binaries: Path) -> Iterator[Server]:
    """A server that ends with the block, and also when this process is killed."""
    folder = Path(tempfile.mkdtemp(prefix="qunlearn-postgres-"))
    try:
        server = Server(_free_port(), secrets.token_hex(8))
        process = _start(binaries, folder, server)
        try:
            _wait_for(server, process, folder / "log")
            yield server
        finally:
            _end(process)
    finally:
        shutil.rmtree(folder)


def _start(binaries: Path, folder: Path, server: Server) -> subprocess.Popen[bytes]:
    user = _unprivileged()
    (folder / "password").write_text(server.password, encoding="ascii")
    if user:
        for path in (folder, folder / "password"):
            os.chown(path, user["user"], user["group"])
    options: dict[str, Any] = {"cwd": folder, "env": {"LC_ALL": "C", "PATH": os.environ["PATH"]}, **user}
    flags = ["--username=qunlearn", "--auth=scram-sha-256", "--encoding=UTF8", "--locale=C", "--no-sync"]
    made = subprocess.run(
        [binaries / "initdb", *flags, f"--pgdata={folder / 'data'}", f"--pwfile={folder / 'password'}"],
        capture_output=True,
        text=True,
        check=False,
        **options,
    )
    assert made.returncode == 0, made.stdout + made.stderr
    settings = {"listen_addresses": "127.0.0.1", "port": server.port, "unix_socket_directories": "", "fsync": "off"}
    with (folder / "log").open("wb") as log:
        return subprocess.Popen(
            [binaries / "postgres", "-D", folder / "data", *(f"--{name}={value}" for name, value in settings.items())],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            preexec_fn=_end_with_parent,
            **options,
        )


def _unprivileged() -> dict[str, int]:
    """Whom to start it as where we are root, which PostgreSQL refuses to be."""
    if os.geteuid() != 0:
        return {}
    known = {entry.pw_name: entry for entry in pwd.getpwall()}
    entry = known.get("postgres") or known["nobody"]
    return {"user": entry.pw_uid, "group": entry.pw_gid}


def _end_with_parent() -> None:
    ctypes.CDLL(None).prctl(SET_DEATH_SIGNAL, AT_ONCE)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _wait_for(server: Server, process: subprocess.Popen[bytes], log: Path) -> None:
    import psycopg

    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            psycopg.connect(server.url(), connect_timeout=5).close()
            return
        except psycopg.OperationalError:
            assert process.poll() is None, f"PostgreSQL ended at once:\n{log.read_text(encoding='utf-8')}"
            assert time.monotonic() < deadline, f"PostgreSQL does not answer:\n{log.read_text(encoding='utf-8')}"
            time.sleep(0.05)


def _end(process: subprocess.Popen[bytes]) -> None:
    """At once, without writing to disk what nobody needs any more; it ends its own children."""
    process.send_signal(AT_ONCE)
    try:
        process.wait(PATIENCE)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
