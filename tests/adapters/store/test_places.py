"""The place of a decision comes with a step that keeps what is there, goes with one, and is vouched for."""

from __future__ import annotations

import asyncio
import datetime as dt
import hashlib
from collections.abc import Callable

import sqlalchemy as sa
from sqlalchemy.engine import Engine

from adapters.store.audit_ledger import Ledger
from adapters.store.audit_reading import altered_decisions, reading
from adapters.store.database import downgrade, upgrade
from adapters.store.decisions import StoredDecisions, get_decision, writing_connection
from adapters.store.months import make_months
from adapters.store.sealing import PLAIN
from adapters.store.tables import decision
from engine.ports import Entry

MakeEntry = Callable[..., Entry]


def _digest(content: bytes) -> str:
    return "sha256:" + hashlib.sha256(content).hexdigest()


async def _append(engine: Engine, *entries: Entry) -> None:
    ledger = Ledger(engine.dialect.name, _digest)
    log = StoredDecisions(engine, connect=writing_connection(engine), ledger=ledger, patience=10.0)
    await asyncio.gather(*(log.append(one) for one in entries))
    await log.close()


async def test_places_come_and_go_with_the_decisions_of_all_months(
    database: Engine, entry: MakeEntry
) -> None:
    placed = [
        entry(at=dt.datetime(2026, month, 3, tzinfo=dt.UTC), site="east", department="icu")
        for month in (1, 2, 11)
    ]
    unplaced = entry()
    far = entry(at=dt.datetime(2031, 7, 3, tzinfo=dt.UTC), site="east", department="surgery")
    await _append(database, *placed, unplaced, far)
    make_months(database, far.at)  # PostgreSQL moves the far one into a month of its own, place and all
    for one in (*placed, unplaced, far):
        assert get_decision(database, one.id) == one

    downgrade(database, "0005")
    names = {column["name"] for column in sa.inspect(database).get_columns("decision")}
    assert names.isdisjoint({"site", "department"})
    upgrade(database)
    for one in (*placed, far):
        back = get_decision(database, one.id)
        assert back is not None
        assert (back.trace, back.site, back.department) == (one.trace, "", "")
    assert get_decision(database, unplaced.id) == unplaced

    again = entry(site="west", department="icu", at=placed[0].at)
    await _append(database, again)
    assert get_decision(database, again.id) == again


async def test_whoever_moves_a_decision_to_another_department_is_found_out(
    database: Engine, entry: MakeEntry
) -> None:
    moved, stays, never = entry(site="east", department="icu"), entry(site="east"), entry()
    await _append(database, moved, stays, never)
    with reading(database) as connection:
        assert list(altered_decisions(connection, _digest, PLAIN, None)) == []
    with database.begin() as connection:
        for one in (moved, never):
            connection.execute(
                sa.update(decision).where(decision.c.id == one.id).values(department="surgery")
            )
    with reading(database) as connection:
        found = [fault.what for fault in altered_decisions(connection, _digest, PLAIN, None)]
    assert {one.id for one in (moved, stays, never) if any(one.id in what for what in found)} == {
        moved.id,
        never.id,
    }
