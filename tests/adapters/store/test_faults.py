"""Whatever call to the database fails, nothing is acknowledged that is not there, and a retry gives one row.

The sweep fails the first call, then the second, and so on until a run meets no failure: each once before
the call has done its work, and once after, as when the answer of a COMMIT is lost.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import sqlite3
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import psycopg
import pytest
import sqlalchemy as sa
from sqlalchemy.engine import Engine
from sqlalchemy.engine.interfaces import DBAPIConnection, DBAPICursor

from adapters.store.backends import POSTGRESQL, SQLITE, Fault
from adapters.store.database import open_database, upgrade
from adapters.store.decisions import StoredDecisions, writing_connection
from adapters.store.tables import decision, feedback
from engine.errors import NotRecorded
from engine.ports import Entry, FeedbackEntry, Recorded

AT = dt.datetime(2026, 3, 1, 8, tzinfo=dt.UTC)
MakeEntry = Callable[..., Entry]


def sqlite_error(code: int, text: str) -> sqlite3.OperationalError:
    error = sqlite3.OperationalError(text)
    error.sqlite_errorcode = code
    return error


FAULTS: dict[str, Callable[[], Exception]] = {
    "io": lambda: sqlite_error(sqlite3.SQLITE_IOERR_FSYNC, "disk I/O error"),
    "full": lambda: sqlite_error(sqlite3.SQLITE_FULL, "database or disk is full"),
    "locked": lambda: sqlite_error(sqlite3.SQLITE_LOCKED, "database table is locked"),
    "lost": lambda: psycopg.OperationalError("server closed the connection unexpectedly"),
    "deadlock": lambda: psycopg.errors.DeadlockDetected("deadlock detected"),
    "disk": lambda: psycopg.errors.DiskFull("could not extend file"),
}


@dataclass
class Trap:
    """Fail the call with this number, before or after it has done its work."""

    fail_at: int
    fault: Callable[[], Exception]
    after: bool
    calls: list[str] = field(default_factory=list)
    connection: DBAPIConnection | None = None

    @property
    def sprung(self) -> bool:
        return len(self.calls) >= self.fail_at

    def call(self, name: str, work: Callable[[], object]) -> object:
        self.calls.append(name)
        if len(self.calls) != self.fail_at:
            return work()
        if self.after:
            work()
        error = self.fault()
        if isinstance(error, psycopg.OperationalError) and not error.sqlstate and self.connection:
            self.connection.close()  # a lost connection stays lost
        raise error


class FailingCursor:
    """A cursor whose calls go through the trap."""

    def __init__(self, cursor: DBAPICursor, trap: Trap) -> None:
        self._cursor, self._trap = cursor, trap

    def execute(self, statement: str, parameters: Sequence[Any] = ()) -> object:
        name = " ".join(statement.split()[:3])
        return self._trap.call(name, lambda: self._cursor.execute(statement, parameters))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._cursor, name)


class FailingConnection:
    """A connection whose calls go through the trap."""

    def __init__(self, connection: DBAPIConnection, trap: Trap) -> None:
        self._connection, self._trap = connection, trap

    def cursor(self) -> FailingCursor:
        return FailingCursor(self._connection.cursor(), self._trap)

    def rollback(self) -> object:
        return self._trap.call("rollback", self._connection.rollback)

    def close(self) -> object:
        return self._trap.call("close", self._connection.close)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._connection, name)

    def __setattr__(self, name: str, value: object) -> None:
        if name.startswith("_"):
            object.__setattr__(self, name, value)
        else:
            setattr(self._connection, name, value)


def trapped(engine: Engine, trap: Trap) -> Callable[[], DBAPIConnection]:
    connect = writing_connection(engine)

    def open_one() -> DBAPIConnection:
        connection = trap.call("connect", connect)
        trap.connection = connection  # type: ignore[assignment]
        return FailingConnection(connection, trap)  # type: ignore[arg-type, return-value]

    return open_one


@dataclass
class Told:
    """What the log said to its callers."""

    recorded: dict[str, Recorded] = field(default_factory=dict)
    refused: list[str] = field(default_factory=list)
    stops: list[str] = field(default_factory=list)
    feedback_kept: bool = False


async def drive(log: StoredDecisions, entries: Sequence[Entry], told: Told) -> None:
    """Write entries alone and together, one twice and one that cannot be stored; then feedback."""

    async def append(one: Entry) -> None:
        try:
            recorded = await log.append(one)
        except NotRecorded as error:
            told.refused.append(str(error))
        else:
            told.recorded[one.key] = recorded

    await append(entries[0])
    unstorable = [
        Entry(**{name: getattr(entries[0], name) for name in Entry.__struct_fields__} | {"key": "bad"})
    ]
    await asyncio.gather(*(append(one) for one in [*entries[1:], entries[0], *unstorable]))
    try:
        await log.append_feedback((report(),))
        told.feedback_kept = True
    except NotRecorded as error:
        told.refused.append(str(error))


def report() -> FeedbackEntry:
    return FeedbackEntry(service="order-sign", card="a", outcome="accepted", outcome_at=AT)


def stored(engine: Engine) -> dict[str, str]:
    with engine.connect() as connection:
        return {row.key: row.id for row in connection.execute(sa.select(decision.c.key, decision.c.id))}


async def sweep(engine: Engine, entry: MakeEntry, fault: str, *, after: bool) -> tuple[int, set[str], int]:
    """Fail every call in turn; return how many there were, which kinds, and how often the log stopped."""
    kinds: set[str] = set()
    stops = 0
    for fail_at in range(1, 1000):
        trap = Trap(fail_at, FAULTS[fault], after)
        told = Told()
        log = StoredDecisions(engine, connect=trapped(engine, trap), stop=told.stops.append, batch=4)
        with engine.begin() as connection:
            connection.execute(sa.delete(decision))
            connection.execute(sa.delete(feedback))
        entries = [entry() for _ in range(8)]
        await drive(log, entries, told)
        await log.close()

        there = stored(engine)
        for key, recorded in told.recorded.items():
            assert there.get(key) == recorded.id, (
                f"call {fail_at} ({trap.calls[-1]}): acknowledged but missing"
            )
        assert len(told.stops) <= 1
        if told.stops:
            assert set(trap.calls[fail_at:]) <= {"close"}, "nothing more is tried on a disk that lied"
        stops += len(told.stops)

        # The same keys again, on a healthy log: one row each, and ours.
        healthy = StoredDecisions(engine, connect=writing_connection(engine))
        for one in entries:
            recorded = await healthy.append(one)
            assert (recorded.id, recorded.answer) == (one.id, one.answer)
        await healthy.append_feedback((report(),))
        await healthy.close()
        assert stored(engine) == {one.key: one.id for one in entries}
        with engine.connect() as connection:
            assert connection.execute(sa.select(sa.func.count()).select_from(feedback)).scalar_one() == 1

        if not trap.sprung:
            assert len(told.recorded) == len(entries)
            assert told.feedback_kept
            return fail_at - 1, kinds, stops
        kinds.add(trap.calls[fail_at - 1])
    raise AssertionError("the sweep found no end")


CALLS = {
    "connect",
    "BEGIN",
    "COMMIT",
    'INSERT INTO "decision"',
    'INSERT INTO "feedback"',
    "rollback",
    "close",
}


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("fault", ["io", "full", "locked"])
async def test_whichever_sqlite_call_fails_nothing_acknowledged_is_missing(
    sqlite_url: str, entry: MakeEntry, fault: str, after: bool
) -> None:
    engine = open_database(sqlite_url, patience=5.0)
    calls, kinds, stops = await sweep(engine, entry, fault, after=after)
    engine.dispose()
    assert {kind.replace(" IMMEDIATE", "") for kind in kinds} >= CALLS
    assert calls >= 15
    # Every call inside a transaction that met an I/O error stops the process; no other fault does.
    assert (stops > 5) == (fault == "io")


@pytest.mark.postgresql
@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("fault", ["lost", "deadlock", "disk"])
async def test_whichever_postgresql_call_fails_nothing_acknowledged_is_missing(
    postgres: Any, entry: MakeEntry, fault: str, after: bool
) -> None:
    engine = open_database(postgres.new_database(), patience=5.0)
    upgrade(engine)
    calls, kinds, stops = await sweep(engine, entry, fault, after=after)
    engine.dispose()
    assert kinds >= CALLS
    assert calls >= 15
    assert stops == 0


async def test_a_commit_whose_sync_failed_stops_the_process_and_acknowledges_nothing(
    sqlite_url: str, entry: MakeEntry
) -> None:
    engine = open_database(sqlite_url, patience=5.0)
    # connect, PRAGMA, BEGIN, INSERT, COMMIT: the fifth call has done its work when it fails.
    trap = Trap(5, FAULTS["io"], after=True)
    stops: list[str] = []
    log = StoredDecisions(engine, connect=trapped(engine, trap), stop=stops.append)
    one = entry()
    with pytest.raises(NotRecorded, match="disk I/O error"):
        await log.append(one)
    assert trap.calls[:5] == [
        "connect",
        "PRAGMA busy_timeout=0",
        "BEGIN IMMEDIATE",
        'INSERT INTO "decision"',
        "COMMIT",
    ]
    assert stops == ["the decision log cannot be written safely: disk I/O error"]
    with pytest.raises(NotRecorded, match="cannot be written safely"):
        await log.append(entry())
    assert len(trap.calls) == 5, "nothing more is tried on a disk that lied"
    await log.close()
    # An error means unknown, not absent: here the row is there, and the retry of the next process finds it.
    again = StoredDecisions(engine, connect=writing_connection(engine))
    assert await again.append(one) == Recorded(one.id, one.answer, fresh=True)
    assert stored(engine) == {one.key: one.id}
    await again.close()
    engine.dispose()


@pytest.mark.postgresql
async def test_a_connection_lost_at_the_commit_is_settled_by_the_key_without_the_caller_noticing(
    postgres: Any, entry: MakeEntry
) -> None:
    engine = open_database(postgres.new_database(), patience=5.0)
    upgrade(engine)
    for after in (True, False):
        one = entry()
        # connect, BEGIN, INSERT, COMMIT: the fourth call loses the connection, with the row there or not.
        trap = Trap(4, FAULTS["lost"], after)
        log = StoredDecisions(engine, connect=trapped(engine, trap))
        assert await log.append(one) == Recorded(one.id, one.answer, fresh=True)
        assert trap.calls[3] == "COMMIT"
        await log.close()
        assert stored(engine)[one.key] == one.id
    engine.dispose()


@pytest.mark.postgresql
async def test_a_connection_that_the_server_ends_is_made_anew(postgres: Any, entry: MakeEntry) -> None:
    engine = open_database(postgres.new_database(), patience=5.0)
    upgrade(engine)
    log = StoredDecisions(engine, connect=writing_connection(engine))
    await log.append(entry())
    with engine.connect() as connection:
        connection.execute(
            sa.text(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )
        )
    assert (await log.append(entry())).fresh
    await log.close()
    engine.dispose()


async def test_a_full_disk_is_said_so_and_the_same_key_is_stored_once_there_is_room(
    sqlite_url: str, entry: MakeEntry
) -> None:
    engine = open_database(sqlite_url, patience=5.0)
    room = 60
    connect = writing_connection(engine)

    def small() -> DBAPIConnection:
        connection = connect()
        connection.cursor().execute(f"PRAGMA max_page_count={room}")
        return connection

    log = StoredDecisions(engine, connect=small)
    entries = [entry(trace=b"t" * 2000) for _ in range(300)]
    outcomes = await asyncio.gather(*(log.append(one) for one in entries), return_exceptions=True)
    refused = [
        one for one, outcome in zip(entries, outcomes, strict=True) if isinstance(outcome, NotRecorded)
    ]
    kept = [one for one, outcome in zip(entries, outcomes, strict=True) if isinstance(outcome, Recorded)]
    assert len(refused) + len(kept) == 300
    assert refused
    assert "full" in str(outcomes[-1])
    assert "full" in str(log.trouble)
    assert {one.key for one in kept} == set(stored(engine))

    room = 10_000
    for one in entries:
        assert (await log.append(one)).answer == one.answer
    assert log.trouble is None
    assert len(stored(engine)) == 300
    await log.close()
    engine.dispose()


def test_a_write_that_the_kernel_refuses_ends_the_process_with_all_it_acknowledged_on_disk(
    sqlite_url: str, processes: Any
) -> None:
    writer = processes(sqlite_url, "limited", str(2 << 20))
    writer.start()
    acknowledged, codes = writer.until_ended()
    complaint = writer.close()
    assert codes == [74], complaint  # EX_IOERR
    assert "disk I/O error" in complaint
    engine = open_database(sqlite_url, patience=5.0)
    assert acknowledged
    assert set(acknowledged) <= set(stored(engine))
    engine.dispose()


def test_errors_mean_what_they_say() -> None:
    assert SQLITE.fault(sqlite_error(sqlite3.SQLITE_CORRUPT, "malformed")) is Fault.BROKEN
    assert SQLITE.fault(sqlite_error(sqlite3.SQLITE_READONLY, "readonly")) is Fault.REFUSED
    assert SQLITE.fault(sqlite3.IntegrityError("made by hand")) is Fault.REFUSED
    assert POSTGRESQL.fault(psycopg.errors.AdminShutdown("x")) is Fault.LOST
    assert POSTGRESQL.fault(psycopg.errors.ReadOnlySqlTransaction("x")) is Fault.LOST
    assert POSTGRESQL.fault(psycopg.errors.UniqueViolation("x")) is Fault.ROW
    assert POSTGRESQL.fault(psycopg.errors.LockNotAvailable("x")) is Fault.REFUSED
    assert POSTGRESQL.fault(psycopg.errors.UndefinedTable("x")) is Fault.REFUSED
    assert POSTGRESQL.fault(psycopg.DataError("NUL")) is Fault.ROW
    assert POSTGRESQL.fault(MemoryError()) is Fault.REFUSED
