"""Old months leave the database as Parquet, and keys stay unique across months."""

from __future__ import annotations

import asyncio
import datetime as dt
import hashlib
from collections.abc import Callable
from pathlib import Path

import duckdb
import pytest
import sqlalchemy as sa
from sqlalchemy.engine import Engine

from adapters.store.archive import archive_month, months_with_decisions
from adapters.store.audit_ledger import Ledger
from adapters.store.audit_reading import altered_decisions, archived_before, links, reading
from adapters.store.database import StoreError, downgrade, open_database, upgrade
from adapters.store.decisions import StoredDecisions, writing_connection
from adapters.store.months import make_months
from adapters.store.sealing import PLAIN
from engine.audit import Kind
from engine.errors import NotRecorded, ReusedKey
from engine.ports import Entry

_NOW = dt.datetime(2026, 11, 22, tzinfo=dt.UTC)
MakeEntry = Callable[..., Entry]


def _digest(content: bytes) -> str:
    return "sha256:" + hashlib.sha256(content).hexdigest()


def _in(month: int, day: int = 5) -> dt.datetime:
    return dt.datetime(2026, month, day, 12, tzinfo=dt.UTC)


async def _append(engine: Engine, *entries: Entry, audited: bool = True) -> None:
    ledger = Ledger(engine.dialect.name, _digest) if audited else None
    log = StoredDecisions(engine, connect=writing_connection(engine), ledger=ledger, patience=10.0)
    await asyncio.gather(*(log.append(one) for one in entries))
    await log.close()


async def test_a_month_leaves_as_parquet_that_duckdb_reads_and_the_rest_stays(
    database: Engine, entry: MakeEntry, tmp_path: Path
) -> None:
    old = [entry(at=_in(1, 1 + number % 28)) for number in range(70)]
    younger = [entry(at=_in(2)), entry(at=_in(11))]
    await _append(database, *old, *younger)
    ledger = Ledger(database.dialect.name, _digest)

    assert months_with_decisions(database, dt.date(2026, 11, 1)) == [dt.date(2026, 1, 1), dt.date(2026, 2, 1)]
    done = archive_month(database, ledger, dt.date(2026, 1, 1), tmp_path / "a", at=_NOW, who="cli:root")

    assert done.rows == 70
    with duckdb.connect() as duck:
        query = f"SELECT id, epoch_us(\"at\"), findings, trace, answer FROM '{done.file}' ORDER BY id"
        table = duck.execute(query).fetchall()
    assert [row[0] for row in table] == sorted(one.id for one in old)
    assert all(row[2] == 2 and row[3] == old[0].trace for row in table)
    assert {row[1] for row in table} == {int(one.at.timestamp()) * 1_000_000 for one in old}
    with reading(database) as connection:
        left = set(connection.execute(sa.text("SELECT id FROM decision")).scalars())
        noted = [link.event for link in links(connection)][-1]
        until = archived_before(connection)
        assert list(altered_decisions(connection, _digest, PLAIN, until)) == []
    assert left == {one.id for one in younger}
    assert (noted.kind, noted.who, noted.object) == (
        Kind.ARCHIVE,
        "cli:root",
        "archive/decisions-2026-01.parquet",
    )
    assert '"rows":70' in noted.detail
    assert done.digest in noted.detail
    with pytest.raises(StoreError, match="is there already"):
        archive_month(database, ledger, dt.date(2026, 1, 1), tmp_path / "a", at=_NOW, who="cli:root")


async def test_decisions_that_are_archived_do_not_stop_others_from_being_recorded(
    database: Engine, entry: MakeEntry, tmp_path: Path
) -> None:
    await _append(database, *[entry(at=_in(1)) for _ in range(300)])
    ledger = Ledger(database.dialect.name, _digest)
    log = StoredDecisions(database, connect=writing_connection(database), ledger=ledger, patience=10.0)
    archiving = asyncio.create_task(
        asyncio.to_thread(
            archive_month, database, ledger, dt.date(2026, 1, 1), tmp_path, at=_NOW, who="cli:root"
        )
    )
    made = [entry(at=_in(11)) for _ in range(200)]
    for start in range(0, 200, 20):
        await asyncio.gather(*(log.append(one) for one in made[start : start + 20]))
    assert (await archiving).rows == 300
    await log.close()
    with reading(database) as connection:
        assert connection.execute(sa.text("SELECT count(*) FROM decision")).scalar_one() == 200
        indexes = [link.index for link in links(connection)]
    assert indexes == list(range(1, 502))


async def test_a_key_counts_across_months(database: Engine, entry: MakeEntry) -> None:
    log = StoredDecisions(database, connect=writing_connection(database))
    first = entry(at=_in(1))
    assert (await log.append(first)).fresh
    again = entry(key=first.key, at=_in(11))
    assert await log.append(again) == await log.find(first.key, first.request_digest)
    with pytest.raises(ReusedKey):
        await log.append(entry(key=first.key, request_digest="another", at=_in(11)))
    with pytest.raises(NotRecorded):
        await log.append(entry(id=first.id, at=_in(11)))
    with reading(database) as connection:
        assert connection.execute(sa.text("SELECT count(*) FROM decision")).scalar_one() == 1
    await log.close()


@pytest.mark.postgresql
async def test_rows_of_a_month_that_nobody_made_move_there_when_it_is_made(
    postgres: object, entry: MakeEntry, request: pytest.FixtureRequest
) -> None:
    engine = open_database(request.getfixturevalue("postgres").new_database(), patience=5.0)
    upgrade(engine)
    far = dt.datetime(2031, 7, 3, tzinfo=dt.UTC)
    one = entry(at=far)
    await _append(engine, one, audited=False)

    def place() -> str:
        with engine.connect() as connection:
            return str(connection.execute(sa.text("SELECT tableoid::regclass FROM decision")).scalar_one())

    assert place() == "decision_rest"
    assert make_months(engine, far) == 4
    assert place() == "decision_2031_07"
    assert make_months(engine, far) == 0
    log = StoredDecisions(engine, connect=writing_connection(engine))
    assert await log.get(one.id) == one
    await log.close()
    engine.dispose()


async def test_the_months_come_and_go_with_the_decisions_in_them(database: Engine, entry: MakeEntry) -> None:
    made = [entry(at=_in(month)) for month in (1, 2, 2, 11)]
    await _append(database, *made)

    def ids() -> list[str]:
        with database.connect() as connection:
            return sorted(connection.execute(sa.text("SELECT id FROM decision")).scalars())

    for revision in ("0004", "head"):
        if revision == "head":
            upgrade(database)
        else:
            downgrade(database, revision)
        assert ids() == sorted(one.id for one in made)
    log = StoredDecisions(database, connect=writing_connection(database))
    assert [(await log.append(one)).fresh for one in made] == [True] * 4  # ours, and not written again
    await log.close()
    assert ids() == sorted(one.id for one in made)
