"""Give the store's tests real databases: SQLite files, and a PostgreSQL server of their own."""

from __future__ import annotations

import contextlib
import datetime as dt
import itertools
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest
from sqlalchemy.engine import Engine

from adapters.store.database import open_database, upgrade
from engine.ports import Entry

_NUMBERS = itertools.count()
_HOW_TO_GET_IT = (
    "no PostgreSQL server binaries: `apt-get install postgresql` (Debian) brings initdb and pg_ctl"
)


def _binaries() -> Path:
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb")) or [
        Path(path) for path in [shutil.which("initdb")] if path
    ]
    if not found:
        pytest.fail(_HOW_TO_GET_IT, pytrace=False)
    return found[-1].resolve().parent


class PostgresServer:
    """A PostgreSQL of this test run, on loopback, in a folder of its own."""

    def __init__(self) -> None:
        self._binaries = _binaries()
        # PostgreSQL refuses to run as root; its folder must be within reach of whom it runs as.
        self._as: str | None = "postgres" if os.geteuid() == 0 else None
        self.folder = Path(tempfile.mkdtemp(prefix="ruleward-pg-"))
        if self._as:
            shutil.chown(self.folder, self._as, self._as)
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port: int = probe.getsockname()[1]
        made = self._spawn(
            "initdb", "-D", "data", "-A", "trust", "-U", "postgres", "--no-locale", "-E", "UTF8"
        )
        if made.wait():
            pytest.fail(f"initdb failed:\n{self._log()}", pytrace=False)
        self._server: subprocess.Popen[bytes] | None = None

    def _spawn(self, program: str, *arguments: str) -> subprocess.Popen[bytes]:
        with (self.folder / "log").open("ab") as log:
            return subprocess.Popen(
                [str(self._binaries / program), *arguments],
                cwd=self.folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                user=self._as,
                group=self._as,
                extra_groups=[] if self._as else None,
            )

    def _log(self) -> str:
        return (self.folder / "log").read_text()[-2000:]

    def start(self) -> None:
        """Start and wait for the first connection; again while a killed server's children hold its memory."""
        give_up = time.monotonic() + 60
        while time.monotonic() < give_up:
            if self._server is None or self._server.poll() is not None:
                settings = (f"port={self.port}", "listen_addresses=127.0.0.1", "unix_socket_directories=.")
                self._server = self._spawn("postgres", "-D", "data", *(f"-c{one}" for one in settings))
            with contextlib.suppress(psycopg.OperationalError):
                psycopg.connect(self.url("postgres"), connect_timeout=5).close()
                return
            time.sleep(0.02)
        pytest.fail(f"PostgreSQL does not start:\n{self._log()}", pytrace=False)

    def end(self, number: signal.Signals) -> None:
        """Send the server a signal and wait for its end: SIGQUIT is an immediate stop, SIGKILL a kill.

        The children of a killed server end by themselves when they notice.
        """
        if self._server is not None:
            self._server.send_signal(number)
            self._server.wait(30)

    def url(self, database: str) -> str:
        """Return the URL of a database on this server."""
        return f"postgresql://postgres@127.0.0.1:{self.port}/{database}"

    def new_database(self) -> str:
        """Make an empty database and return its URL."""
        name = f"test_{next(_NUMBERS)}"
        with psycopg.connect(self.url("postgres"), autocommit=True) as connection:
            connection.execute(f'CREATE DATABASE "{name}"')
        return self.url(name)

    def remove(self) -> None:
        """Stop and leave nothing behind."""
        self.end(signal.SIGQUIT)
        shutil.rmtree(self.folder, ignore_errors=True)


@contextlib.contextmanager
def _server() -> Iterator[PostgresServer]:
    server = PostgresServer()
    try:
        server.start()
        yield server
    finally:
        server.remove()


class WritingProcesses:
    """Processes that write, forked from one that has done the imports; see writing_process.py."""

    def __init__(self, url: str, verb: str, *rest: str) -> None:
        self._parent = subprocess.Popen(
            [sys.executable, str(Path(__file__).with_name("writing_process.py")), url, verb, *rest],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def start(self, count: int = 1) -> None:
        """Start so many at once."""
        assert self._parent.stdin is not None
        self._parent.stdin.write(f"{count}\n")
        self._parent.stdin.flush()

    def line(self) -> str:
        """Return the next line that one of them says."""
        assert self._parent.stdout is not None
        return self._parent.stdout.readline().strip()

    def until_ended(self) -> tuple[list[str], list[int]]:
        """Return what they say until all have ended, and their exit codes (minus the signal's number)."""
        said: list[str] = []
        while not (line := self.line()).startswith("ended"):
            if not line:
                assert self._parent.stderr is not None
                pytest.fail(f"the writing process is gone:\n{self._parent.stderr.read()[-2000:]}")
            if not line.startswith("pid"):
                said.append(line)
        return said, [int(code) for code in line.split()[1:]]

    def close(self) -> str:
        """End the one that starts the others; return what was written to stderr."""
        return self._parent.communicate(timeout=30)[1]


@pytest.fixture
def processes() -> Iterator[Callable[..., WritingProcesses]]:
    """Return what makes writing processes, and end them with the test."""
    with contextlib.ExitStack() as stack:

        def make(url: str, verb: str, *rest: str) -> WritingProcesses:
            made = WritingProcesses(url, verb, *rest)
            stack.callback(made.close)
            return made

        yield make


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    """Give the PostgreSQL server that all tests share."""
    with _server() as server:
        yield server


@pytest.fixture
def mortal_postgres() -> Iterator[PostgresServer]:
    """Give a PostgreSQL server that this test may kill."""
    with _server() as server:
        yield server


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.postgresql)])
def empty_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Give the URL of a database without tables, of either kind."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/store/ruleward.db"
    server: PostgresServer = request.getfixturevalue("postgres")
    return server.new_database()


@pytest.fixture
def url(empty_url: str) -> str:
    """Give the URL of a database with its tables, of either kind."""
    engine = open_database(empty_url, patience=5.0)
    upgrade(engine)
    engine.dispose()
    return empty_url


@pytest.fixture
def sqlite_url(tmp_path: Path) -> str:
    """Give the URL of a SQLite file with its tables."""
    made = f"sqlite:///{tmp_path}/ruleward.db"
    engine = open_database(made, patience=5.0)
    upgrade(engine)
    engine.dispose()
    return made


@pytest.fixture
def database(url: str) -> Iterator[Engine]:
    """Give an engine of either kind, its tables made."""
    engine = open_database(url, patience=5.0)
    yield engine
    engine.dispose()


@pytest.fixture
def entry() -> Callable[..., Entry]:
    """Return what makes an entry; anything may be given instead of what it makes up."""

    def make(**given: object) -> Entry:
        identity = str(uuid.uuid4())
        values: dict[str, object] = {
            "id": identity,
            "key": f"key-{identity}",
            "request_digest": "sm3:request",
            "interface": "cds-hooks",
            "stage": "order_sign",
            "at": dt.datetime(2026, 3, 1, 0, 30, tzinfo=dt.timezone(dt.timedelta(hours=8))),
            "release": "sm3:release",
            "facts_digest": "sm3:facts",
            "status": "findings",
            "findings": 2,
            "not_checked": 1,
            "trace": '{"findings": ["华法林"]}'.encode(),
            "answer": identity.encode(),
            "cards": (f"card-{identity}", "b"),
            "patient": "p-1",
        }
        return Entry(**(values | given))  # type: ignore[arg-type]

    return make
