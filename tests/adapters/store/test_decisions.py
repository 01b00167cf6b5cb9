"""The decision log keeps what it acknowledges, once, and gives it back as it was."""

from __future__ import annotations

import asyncio
import datetime as dt
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.engine import Engine

from adapters.store.database import open_database, writing
from adapters.store.decisions import StoredDecisions, writing_connection
from adapters.store.tables import decision, feedback
from engine.errors import NotRecorded, ReusedKey
from engine.ports import Entry, FeedbackEntry, Recorded

MakeEntry = Callable[..., Entry]


@pytest.fixture
async def log(database: Engine) -> AsyncIterator[StoredDecisions]:
    made = StoredDecisions(database, connect=writing_connection(database), patience=5.0)
    yield made
    await made.close()


def rows(engine: Engine, table: sa.Table = decision) -> int:
    with engine.connect() as connection:
        return connection.execute(sa.select(sa.func.count()).select_from(table)).scalar_one()


async def test_an_entry_comes_back_as_it_was_with_its_own_time_zone(
    log: StoredDecisions, entry: MakeEntry
) -> None:
    one = entry()
    assert await log.append(one) == Recorded(one.id, one.answer, fresh=True)
    back = await log.get(one.id)
    assert back == one
    # The day of a decision is a local day: 00:30 in Beijing is the day before in UTC.
    assert back.at.isoformat() == one.at.isoformat()
    assert await log.get("nobody") is None


async def test_a_retry_gets_the_first_answer_and_makes_no_row(
    log: StoredDecisions, database: Engine, entry: MakeEntry
) -> None:
    first = entry(key="k")
    await log.append(first)
    assert await log.append(entry(key="k")) == Recorded(first.id, first.answer, fresh=False)
    assert await log.find("k", "sm3:request") == Recorded(first.id, first.answer, fresh=False)
    assert await log.find("other", "sm3:request") is None
    assert rows(database) == 1


async def test_a_key_that_comes_with_another_request_is_refused(
    log: StoredDecisions, entry: MakeEntry
) -> None:
    await log.append(entry(key="k"))
    with pytest.raises(ReusedKey):
        await log.append(entry(key="k", request_digest="sm3:other"))
    with pytest.raises(ReusedKey):
        await log.find("k", "sm3:other")


async def test_duplicates_inside_one_transaction_get_one_row_and_one_answer(
    log: StoredDecisions, database: Engine, entry: MakeEntry
) -> None:
    entries = [entry(key=f"k{number % 7}") for number in range(300)]
    clash = entry(key="k3", request_digest="sm3:other")
    *recorded, refused = await asyncio.gather(
        *(log.append(one) for one in [*entries, clash]), return_exceptions=True
    )
    assert isinstance(refused, ReusedKey)
    answers: dict[str, set[bytes]] = {}
    for one, record in zip(entries, recorded, strict=True):
        assert isinstance(record, Recorded)
        answers.setdefault(one.key, set()).add(record.answer)
        assert record.fresh == (record.id == one.id)
    assert {len(given) for given in answers.values()} == {1}
    assert sum(isinstance(record, Recorded) and record.fresh for record in recorded) == 7
    assert rows(database) == 7


def test_one_key_a_thousand_times_from_three_processes_gives_one_row_and_one_answer(
    url: str, database: Engine, processes: Any
) -> None:
    writers = processes(url, "same", "334", "the-key")
    writers.start(3)
    said, codes = writers.until_ended()
    assert codes == [0] * 3, writers.close()
    assert len(said) >= 1000
    assert len({line.split()[1] for line in said}) == 1
    assert sum(line.startswith("fresh") for line in said) == 1
    assert rows(database) == 1


@pytest.mark.parametrize(
    "bad",
    [
        {"status": "\ud800"},  # cannot be encoded
        {"findings": 2**80},  # fits into no column
        {"id": "taken"},  # another decision has this id
        {"at": dt.datetime(2026, 3, 1)},
    ],
    ids=["surrogate", "overflow", "id", "zone"],
)
async def test_a_row_that_cannot_be_stored_does_not_take_its_neighbours_along(
    log: StoredDecisions, database: Engine, entry: MakeEntry, bad: dict[str, object]
) -> None:
    await log.append(entry(id="taken"))
    good = [entry() for _ in range(60)]
    entries = [*good[:30], entry(**bad), *good[30:]]
    outcomes = await asyncio.gather(*(log.append(one) for one in entries), return_exceptions=True)
    assert isinstance(outcomes.pop(30), NotRecorded)
    assert outcomes == [Recorded(one.id, one.answer, fresh=True) for one in good]
    assert rows(database) == 61


async def test_feedback_is_kept_once_by_card_outcome_and_time(log: StoredDecisions, database: Engine) -> None:
    at = dt.datetime(2026, 3, 1, 8, tzinfo=dt.UTC)
    told = [
        FeedbackEntry(
            service="order-sign", card=card, outcome="overridden", outcome_at=at, accepted_suggestions=("s",)
        )
        for card in ("a", "b")
    ]
    await log.append_feedback(tuple(told))
    await asyncio.gather(*(log.append_feedback((one, told[0])) for one in told * 10))
    await log.append_feedback(())
    assert rows(database, feedback) == 2
    with database.connect() as connection:
        row = connection.execute(sa.select(feedback).order_by(feedback.c.card)).first()
    assert row is not None
    assert (row.card, row.outcome_at, row.accepted_suggestions) == ("a", at, '["s"]')
    with pytest.raises(NotRecorded, match="zone"):
        await log.append_feedback(
            (FeedbackEntry(service="s", card="c", outcome="accepted", outcome_at=dt.datetime(2026, 1, 1)),)
        )


async def test_recent_gives_the_newest_first_that_match_every_filter(
    log: StoredDecisions, entry: MakeEntry
) -> None:
    start = dt.datetime(2026, 3, 1, tzinfo=dt.UTC)
    entries = [
        entry(at=start + dt.timedelta(minutes=n), release=f"r{n % 2}", status="passed", interface=f"i{n % 3}")
        for n in range(12)
    ]
    await asyncio.gather(*(log.append(one) for one in entries))
    assert await log.recent(3) == entries[:8:-1]
    assert await log.recent(9, release="r0", interface="i0", status="passed", patient="p-1") == [
        entries[6],
        entries[0],
    ]
    beijing = dt.timezone(dt.timedelta(hours=8))
    window = {"since": entries[4].at.astimezone(beijing), "before": entries[6].at}
    assert await log.recent(9, **window) == [entries[5], entries[4]]  # type: ignore[arg-type]


async def test_closing_writes_what_waits_and_refuses_what_comes_later(
    database: Engine, entry: MakeEntry
) -> None:
    log = StoredDecisions(database, connect=writing_connection(database), batch=16)
    waiting = [asyncio.ensure_future(log.append(entry())) for _ in range(300)]
    await asyncio.sleep(0)
    await log.close()
    assert all(record.fresh for record in await asyncio.gather(*waiting))
    assert rows(database) == 300
    with pytest.raises(NotRecorded, match="closed"):
        await log.append(entry())
    with pytest.raises(NotRecorded):
        await log.find("k", "sm3:request")


def _lock(engine: Engine, connection: sa.Connection) -> None:
    if engine.dialect.name == "postgresql":
        connection.execute(sa.text("LOCK TABLE decision IN ACCESS EXCLUSIVE MODE"))


async def test_a_database_that_hangs_is_reported_in_time_and_used_again_afterwards(
    url: str, database: Engine, entry: MakeEntry
) -> None:
    engine = open_database(url, patience=0.4)
    log = StoredDecisions(engine, connect=writing_connection(engine), patience=0.4, capacity=20)
    await log.append(entry())
    with writing(database) as connection:
        _lock(database, connection)
        began = time.monotonic()
        outcomes = await asyncio.gather(*(log.append(entry()) for _ in range(60)), return_exceptions=True)
        took = time.monotonic() - began
        assert all(isinstance(outcome, NotRecorded) for outcome in outcomes)
        assert any("does not keep up" in str(one) for one in outcomes)
        assert took < 5 * 0.4
    await asyncio.sleep(0.6)
    retried = entry()
    assert (await log.append(retried)).fresh
    assert log.trouble is None
    await log.close()
    engine.dispose()


async def test_a_database_that_is_not_there_is_said_so_at_once(tmp_path: Path, entry: MakeEntry) -> None:
    engine = open_database(f"sqlite:///{tmp_path}/gone/ruleward.db", patience=1.0)
    (tmp_path / "gone").rmdir()
    log = StoredDecisions(engine, connect=writing_connection(engine))
    with pytest.raises(NotRecorded, match="unable to open database file"):
        await log.append(entry())
    assert log.trouble is not None
    with pytest.raises(NotRecorded, match="cannot be read"):
        await log.find("k", "sm3:request")
    await log.close()
