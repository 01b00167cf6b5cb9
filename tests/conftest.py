"""Share what every test may need, and name in the last lines whatever could not run."""

from __future__ import annotations

import contextlib
import itertools
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import psycopg
import pytest
import redis
from hypothesis import HealthCheck, settings
from sqlalchemy.engine import Engine

from adapters.store.database import open_database, upgrade

# A timing is never a test: a busy machine must not make a property fail.
settings.register_profile(
    "house", deadline=None, suppress_health_check=[HealthCheck.too_slow], print_blob=True
)
settings.load_profile("house")

_left_out: list[str] = []

_NUMBERS = itertools.count()
_HOW_TO_GET_IT = (
    "no PostgreSQL server binaries: `apt-get install postgresql` (Debian) brings initdb and pg_ctl"
)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _binaries() -> Path:
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb")) or [
        Path(path) for path in [shutil.which("initdb")] if path
    ]
    if not found:
        pytest.fail(_HOW_TO_GET_IT, pytrace=False)
    return found[-1].resolve().parent


@pytest.fixture
def anyio_backend() -> str:
    """Run every async test on asyncio, the loop that the service uses."""
    return "asyncio"


@pytest.fixture
def free_port() -> int:
    """Return a TCP port that was free on loopback a moment ago."""
    return _free_port()


@pytest.fixture(scope="session")
def shared_port() -> int:
    """Return such a port for a server that all tests share."""
    return _free_port()


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


class RedisServer:
    """A Redis of this test run, on loopback; what it held is gone when it stops."""

    def __init__(self) -> None:
        self.port = _free_port()
        self.url = f"redis://127.0.0.1:{self.port}/0"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start and wait until it answers."""
        program = shutil.which("redis-server")
        if program is None:
            pytest.fail("no redis-server: `apt-get install redis-server` (Debian)", pytrace=False)
        options = ("--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--daemonize", "no")
        self._process = subprocess.Popen(
            [program, "--port", str(self.port), *options],
            stdout=subprocess.DEVNULL,
            cwd=tempfile.gettempdir(),
        )
        for _ in range(200):
            try:
                self.client().ping()
                return
            except redis.ConnectionError:
                time.sleep(0.02)
        pytest.fail("Redis does not start")

    def client(self) -> redis.Redis:
        """Return a client of its own."""
        return redis.Redis.from_url(self.url)

    def kill(self) -> None:
        """SIGKILL it."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()


@pytest.fixture
def redis_server() -> Iterator[RedisServer]:
    """Give a Redis server that this test may kill."""
    server = RedisServer()
    try:
        server.start()
        yield server
    finally:
        server.kill()


class RulesFolder:
    """A small rules folder that a test may edit: one rule, a table, a parameter."""

    RULE = "demo/sex_limit/rule.yaml"
    CASES = "demo/sex_limit/cases.yaml"
    TABLE = "knowledge/demo_limits.csv"

    def __init__(self, root: Path) -> None:
        self.root = root
        for path, text in _RULES.items():
            self.write(path, text)

    def write(self, path: str, text: str) -> None:
        """Write a file in one go, as an editor does."""
        target = self.root / path
        target.parent.mkdir(parents=True, exist_ok=True)
        partial = target.with_name(f".{target.name}.part")
        partial.write_text(text, encoding="utf-8")
        partial.replace(target)

    def read(self, path: str) -> str:
        """Return the text of a file."""
        return (self.root / path).read_text(encoding="utf-8")

    def replace(self, path: str, old: str, new: str) -> None:
        """Replace a text that must be there."""
        text = self.read(path)
        assert old in text
        self.write(path, text.replace(old, new))

    def say(self, words: str) -> None:
        """Let the rule say something else, so that its answers tell which release gave them."""
        self.write(self.RULE, _RULES[self.RULE].replace("is for", f"{words} is for"))

    def mend(self) -> None:
        """Write all files as they were at the start, and none besides."""
        for found in sorted(self.root.rglob("*"), reverse=True):
            if found.is_file() and found.relative_to(self.root).as_posix() not in _RULES:
                found.unlink()
        for path, text in _RULES.items():
            self.write(path, text)


_RULES = {
    "demo/ruleset.yaml": """\
id: demo
title: {zh: 示例, en: Demonstration}
description: {zh: 只供测试, en: For tests only}
owner: nobody
""",
    RulesFolder.RULE: """\
id: demo.sex_limit
title: {zh: 限性别药品, en: Drug for one sex}
status: active
version: 1
valid_from: 2020-01-01
stages: [order_sign, before, during]
for_each: {order: medication}
match: {limit: {table: demo_limits, on: {drug: order.name}}}
when:
  all:
    - {name: patient.sex, operator: not_equal_to, value: {name: limit.sex}}
    - {name: patient.age_years, operator: greater_than_or_equal_to, value: {parameter: demo_age_years}}
then:
  level: warn
  message: {zh: "{order.name}限{limit.sex}使用", en: "{order.name} is for {limit.sex} patients"}
references: [{title: A book of examples, article: "1", read_on: 2026-01-08}]
known_limits: {zh: 示例, en: An example}
""",
    RulesFolder.CASES: """\
- name: a man gets a drug for women
  expect: fires
  on: 2026-03-01
  facts: {patient: {sex: male, birth_date: 1980-05-01}, medications: [{id: m1, name: alpha}]}
  finding: {level: warn, subjects: [m1]}
- name: a woman gets it
  expect: silent
  on: 2026-03-01
  facts: {patient: {sex: female, birth_date: 1980-05-01}, medications: [{id: m1, name: alpha}]}
- name: the sex is not known
  expect: not_checked
  on: 2026-03-01
  facts: {patient: {birth_date: 1980-05-01}, medications: [{id: m1, name: alpha}]}
  missing: [patient.sex]
""",
    "knowledge/demo_limits.yaml": """\
id: demo_limits
title: {zh: 限性别, en: Limits}
version: 1
key: [drug]
columns:
  drug: {type: text, label: {zh: 药品, en: Drug}}
  sex: {type: text, label: {zh: 性别, en: Sex}, options: {male: [男, male], female: [女, female]}}
  source: {type: text, label: {zh: 依据, en: Source}}
  evidence: {type: text, label: {zh: 核实, en: Evidence}}
  read_on: {type: date, label: {zh: 查阅, en: Read on}}
source: "A book of examples"
""",
    RulesFolder.TABLE: """\
drug,sex,source,evidence,read_on
alpha,female,A book of examples,single,2026-01-08
beta,male,A book of examples,single,2026-01-08
""",
    "parameters/demo_age_years.yaml": """\
id: demo_age_years
title: {zh: 年龄, en: Age}
type: number
unit: a
values:
  - {from: 2020-01-01, value: 14, reference: A book of examples, read_on: 2026-01-08}
""",
}


@pytest.fixture
def rules_folder(tmp_path: Path) -> RulesFolder:
    """Give a small rules folder."""
    return RulesFolder(tmp_path / "rules")


@pytest.fixture(scope="session")
def new_rules_folder() -> type[RulesFolder]:
    """Give what makes small rules folders, for fixtures that outlive a test."""
    return RulesFolder


def pytest_deselected(items: Sequence[pytest.Item]) -> None:
    """Remember the long tests that were left out; what ``-k`` leaves out is the caller's wish."""
    _left_out.extend(
        f"{item.nodeid} (long: make {'fuzz' if 'fuzz' in item.keywords else 'kill-test'}-long)"
        for item in items
        if "long" in item.keywords
    )


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say what did not run and why; silence would read as success."""
    skipped = [
        f"{report.nodeid}: {report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longrepr}"
        for report in terminalreporter.stats.get("skipped", ())
    ]
    for line in [*skipped, *_left_out]:
        terminalreporter.write_line(f"DID NOT RUN: {line}")
