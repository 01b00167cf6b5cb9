"""kill -9 under load, of the writer and of the database server, loses nothing that was acknowledged.

25 rounds each in the normal run. The long run (marked ``long``) takes ``RULEWARD_KILL_ROUNDS``, 300 when
unset. Killing a process cannot show a missing fsync: test_faults.py looks after those.
"""

from __future__ import annotations

import asyncio
import os
import random
import signal
import time
from collections.abc import Callable
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.engine import Engine

from adapters.store.database import open_database, upgrade
from adapters.store.decisions import StoredDecisions, writing_connection
from adapters.store.tables import decision
from engine.errors import NotRecorded
from engine.ports import Entry

LONG = int(os.environ.get("RULEWARD_KILL_ROUNDS", "300"))
SEED = int(os.environ.get("RULEWARD_KILL_SEED", "20260301"))


@pytest.fixture(params=[pytest.param(25, id="25"), pytest.param(LONG, id="long", marks=pytest.mark.long)])
def rounds(request: pytest.FixtureRequest) -> int:
    """Give the number of kills."""
    number: int = request.param
    return number


def stored(engine: Engine) -> set[str]:
    with engine.connect() as connection:
        return set(connection.execute(sa.select(decision.c.key)).scalars())


def missing_after_kills(
    writers: Any, engine: Engine, rounds: int, *, until_seen: bool = False
) -> tuple[int, int]:
    """Kill a writer each round; return how many keys were acknowledged and how many of these are missing."""
    chance = random.Random(SEED)
    acknowledged: set[str] = set()
    for _ in range(rounds):
        writers.start()
        pid = int(writers.line().removeprefix("pid "))
        acknowledged.add(writers.line())  # it is under way
        time.sleep(chance.uniform(0.0, 0.05))
        # The pipe holds some 1 500 lines, more than are acknowledged in that time.
        os.kill(pid, signal.SIGKILL)
        said, codes = writers.until_ended()
        assert codes == [-signal.SIGKILL]
        acknowledged.update(said)
        if until_seen and not acknowledged <= stored(engine):
            break
    return len(acknowledged), len(acknowledged - stored(engine))


def test_a_writer_killed_at_random_has_lost_nothing_that_it_acknowledged(
    url: str, database: Engine, processes: Any, rounds: int
) -> None:
    acknowledged, lost = missing_after_kills(processes(url, "load"), database, rounds)
    print(f"{rounds} rounds, {acknowledged} acknowledged, {lost} lost")
    assert acknowledged > rounds
    assert lost == 0


def test_this_harness_sees_a_writer_that_acknowledges_too_early(sqlite_url: str, processes: Any) -> None:
    engine = open_database(sqlite_url, patience=5.0)
    _, lost = missing_after_kills(processes(sqlite_url, "boast"), engine, 50, until_seen=True)
    engine.dispose()
    assert lost > 0


@pytest.mark.postgresql
async def test_a_killed_postgresql_has_lost_nothing_that_was_acknowledged(
    mortal_postgres: Any, entry: Callable[..., Entry], rounds: int
) -> None:
    """The server dies by SIGKILL and by immediate stop in turn, under load; the same log goes on."""
    engine = open_database(mortal_postgres.new_database(), patience=5.0)
    upgrade(engine)
    log = StoredDecisions(engine, connect=writing_connection(engine))
    chance = random.Random(SEED)
    acknowledged: set[str] = set()
    unknown: list[Entry] = []
    progress = asyncio.Event()
    ended = False

    async def work() -> None:
        while not ended:
            one = entry()
            try:
                await log.append(one)
            except NotRecorded:
                unknown.append(one)
                await asyncio.sleep(0.02)  # as a caller would, while the server is away
            else:
                acknowledged.add(one.key)
                progress.set()

    tasks = [asyncio.create_task(work()) for _ in range(30)]
    for number in range(rounds):
        progress.clear()
        await progress.wait()
        await asyncio.sleep(chance.uniform(0.0, 0.05))
        how = signal.SIGKILL if number % 2 else signal.SIGQUIT
        await asyncio.to_thread(mortal_postgres.end, how)
        await asyncio.to_thread(mortal_postgres.start)
    ended = True
    await asyncio.gather(*tasks)

    engine.dispose()
    assert unknown, "no append met the server's death"
    assert acknowledged - stored(engine) == set()
    # What was unknown is settled by its key: one row, one answer, ours.
    for one in unknown[-50:]:
        assert (await log.append(one)).answer == one.answer
    with engine.connect() as connection:
        total, keys = connection.execute(
            sa.select(sa.func.count(), sa.func.count(sa.distinct(decision.c.key)))
        ).one()
    assert total == keys >= len(acknowledged)
    await log.close()
    engine.dispose()
