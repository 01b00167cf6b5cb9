"""Nothing personal or clinical lies open in the database, and keys and tables change with data in them."""

from __future__ import annotations

import asyncio
import datetime as dt
import json
import logging
import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psycopg
import pytest
import sqlalchemy as sa
from sqlalchemy.engine import Engine

from adapters.gm_crypto.envelope import EnvelopeSeal
from adapters.gm_crypto.file_keys import Cost, FileKeyStore
from adapters.gm_crypto.keys import Use
from adapters.gm_crypto.soft import SoftProvider
from adapters.store.database import StoreError, downgrade, open_database, upgrade
from adapters.store.decisions import StoredDecisions, writing_connection
from adapters.store.resealing import Resealed, compact, reseal, rows_by_key
from adapters.store.sealing import PLAIN, Seal
from adapters.store.tables import decision, feedback
from engine.errors import NotRecorded, RuleWardError
from engine.ports import Entry, FeedbackEntry

MakeEntry = Callable[..., Entry]

PATIENT, DRUG, PERSON = "canary-patient-7391", "盘尼西林金丝雀", "金丝雀七三九一"
CANARIES = (PATIENT, DRUG, PERSON)
AT = dt.datetime(2026, 3, 1, 8, 30, 0, 250, tzinfo=dt.timezone(dt.timedelta(hours=8)))


@pytest.fixture
def keys(tmp_path: Path) -> Callable[[], EnvelopeSeal]:
    """Return what opens the keys of this test, as each process does by itself."""

    def make() -> EnvelopeSeal:
        store = FileKeyStore(
            tmp_path / "keys.json", "correct horse battery", SoftProvider(), cost=Cost(1, 64, 1)
        )
        return EnvelopeSeal(SoftProvider(), store, refresh=0.0)

    return make


@pytest.fixture
def rotate(tmp_path: Path) -> Callable[[], str]:
    """Return what makes a new data key and says its id."""

    def make() -> str:
        store = FileKeyStore(
            tmp_path / "keys.json", "correct horse battery", SoftProvider(), cost=Cost(1, 64, 1)
        )
        return store.rotate(Use.DATA).id

    return make


@pytest.fixture
def canary(entry: MakeEntry) -> Callable[..., Entry]:
    """Return what makes an entry whose trace and answer name a patient and what the patient does not bear."""

    def make(**given: object) -> Entry:
        trace = {"findings": [{"allergy": DRUG, "patient": PATIENT}]}
        answer = {"cards": [{"summary": f"{PERSON}: {DRUG} 过敏"}]}
        values: dict[str, object] = {
            "patient": PATIENT,
            "trace": json.dumps(trace, ensure_ascii=False).encode(),
            "answer": json.dumps(answer).encode(),  # as escapes
        }
        return entry(**(values | given))

    return make


def report(card: str) -> FeedbackEntry:
    return FeedbackEntry(
        service="order-sign", card=card, outcome="overridden", outcome_at=AT, comment=f"{PERSON} 耐受 {DRUG}"
    )


async def write(engine: Engine, seal: Seal, *entries: Entry) -> None:
    log = StoredDecisions(engine, connect=writing_connection(engine), seal=seal, patience=10.0)
    await asyncio.gather(*(log.append(one) for one in entries))
    await log.append_feedback(tuple(report(one.cards[0]) for one in entries))
    await log.close()


async def read(engine: Engine, seal: Seal, patient: str = PATIENT) -> list[Entry]:
    log = StoredDecisions(engine, connect=writing_connection(engine), seal=seal, patience=10.0)
    try:
        return await log.recent(1000, patient=patient)
    finally:
        await log.close()


def spellings(text: str) -> set[bytes]:
    """Return the bytes by which a text may be written: as it is, as JSON escapes, as hexadecimal digits."""
    plain = text.encode()
    return {plain, json.dumps(text)[1:-1].encode(), plain.hex().encode(), text.encode("utf-16-le")}


def seen(content: bytes) -> list[str]:
    """Return the canaries that ``content`` shows."""
    return [text for text in CANARIES if any(spelling in content for spelling in spellings(text))]


def seen_in(folder: Path) -> list[tuple[str, str]]:
    files = [path for path in folder.rglob("*") if path.is_file()]
    assert files
    return [(path.name, text) for path in files for text in seen(path.read_bytes())]


async def test_no_canary_lies_in_the_files_of_sqlite_nor_in_the_log(
    tmp_path: Path,
    canary: MakeEntry,
    keys: Callable[[], EnvelopeSeal],
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG)
    engine = open_database(f"sqlite:///{tmp_path}/store/ruleward.db", patience=5.0)
    upgrade(engine)
    entries = [canary() for _ in range(50)]
    await write(engine, keys(), *entries)
    assert len(await read(engine, keys())) == 50
    names = {path.name for path in (tmp_path / "store").iterdir()}
    assert "ruleward.db-wal" in names
    assert seen_in(tmp_path) == []
    assert seen(caplog.text.encode()) == []
    engine.dispose()

    # The same search does find them where nothing seals: it is no blind eye.
    await write(engine, PLAIN, canary())
    assert {text for _, text in seen_in(tmp_path / "store")} == set(CANARIES)
    engine.dispose()


@pytest.mark.postgresql
async def test_no_canary_lies_in_the_data_directory_or_a_dump_of_postgresql(
    mortal_postgres: Any, canary: MakeEntry, keys: Callable[[], EnvelopeSeal], tmp_path: Path
) -> None:
    # A server of its own: in the shared one, other tests leave canaries that nobody sealed.
    url = mortal_postgres.new_database()
    engine = open_database(url, patience=5.0)
    upgrade(engine)
    marked = [canary(patient=f"{PATIENT}-{number}") for number in range(50)]
    await write(engine, keys(), *marked)
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("CHECKPOINT")
        shown = b"".join(
            bytes(row[0])
            for table in ("decision", "feedback")
            for row in connection.execute(f"SELECT convert_to(t::text, 'UTF8') FROM {table} AS t")
        )
    assert b"order_sign" in shown  # the dump does show what may be seen
    assert seen(shown) == []
    # Heap, indexes, statistics, write-ahead log, server log.
    copy = tmp_path / "data"
    shutil.copytree(
        mortal_postgres.folder, copy, ignore=shutil.ignore_patterns(".s.*"), ignore_dangling_symlinks=True
    )
    assert seen_in(copy) == []
    engine.dispose()


async def test_what_is_sealed_comes_back_and_is_found_by_patient(
    database: Engine, canary: MakeEntry, keys: Callable[[], EnvelopeSeal]
) -> None:
    mine, other, nobody = canary(), canary(patient="p-2"), canary(patient="")
    await write(database, keys(), mine, other, nobody)
    log = StoredDecisions(database, connect=writing_connection(database), seal=keys())
    assert await log.get(mine.id) == mine
    assert await log.recent(9, patient=PATIENT) == [mine]
    assert await log.recent(9, patient="p-2") == [other]
    assert await log.recent(9, patient="") == [nobody]
    assert await log.recent(9, patient="p-3") == []
    found = await log.find(mine.key, mine.request_digest)
    assert found is not None
    assert found.answer == mine.answer
    retried = await log.append(canary(key=mine.key))
    assert (retried.id, retried.answer, retried.fresh) == (mine.id, mine.answer, False)
    await log.close()


async def test_rows_from_before_there_were_keys_are_read_found_and_then_sealed(
    database: Engine, canary: MakeEntry, keys: Callable[[], EnvelopeSeal]
) -> None:
    old, new = canary(), canary()
    await write(database, PLAIN, old)
    await write(database, keys(), new)
    seal = keys()
    assert {one.id for one in await read(database, seal)} == {old.id, new.id}
    assert rows_by_key(database) == {"": 2, seal.active(): 2}

    assert reseal(database, seal) == Resealed(2, 0)
    assert rows_by_key(database) == {seal.active(): 4}
    assert sorted(await read(database, seal), key=str) == sorted([old, new], key=str)
    assert reseal(database, seal) == Resealed(0, 0)


async def test_after_sealing_old_rows_and_compacting_no_file_of_sqlite_shows_them(
    tmp_path: Path, canary: MakeEntry, keys: Callable[[], EnvelopeSeal]
) -> None:
    engine = open_database(f"sqlite:///{tmp_path}/store/ruleward.db", patience=5.0)
    upgrade(engine)
    await write(engine, PLAIN, *(canary() for _ in range(20)))
    assert seen_in(tmp_path / "store")
    reseal(engine, keys())
    compact(engine)
    assert seen_in(tmp_path / "store") == []
    engine.dispose()


async def test_rotation_while_others_write_leaves_no_row_behind_and_loses_none(
    database: Engine,
    canary: MakeEntry,
    keys: Callable[[], EnvelopeSeal],
    rotate: Callable[[], str],
) -> None:
    before = [canary() for _ in range(120)]
    await write(database, keys(), *before)
    meanwhile = [canary() for _ in range(120)]
    log = StoredDecisions(database, connect=writing_connection(database), seal=keys(), patience=20.0)

    async def keep_writing() -> None:
        for one in meanwhile:
            await log.append(one)

    writing = asyncio.create_task(keep_writing())
    made = rotate()
    await asyncio.to_thread(reseal, database, keys(), batch=25)
    await writing
    reseal(database, keys())
    assert rows_by_key(database) == {made: 360}
    expected = {one.id: one for one in [*before, *meanwhile]}
    assert {one.id: one for one in await log.recent(1000, patient=PATIENT)} == expected
    # A retry of what was sealed under the key before gets its answer.
    again = await log.append(canary(key=before[0].key))
    assert again.answer == before[0].answer
    await log.close()
    with database.connect() as connection:
        for row in connection.execute(sa.select(feedback)):
            place = f"feedback/comment/{row.card}/{row.outcome}/2026-03-01 00:30:00.000250"
            assert keys().open(row.comment, place.encode()).decode() == f"{PERSON} 耐受 {DRUG}"


async def test_a_row_that_does_not_open_is_named_and_hinders_no_other(
    database: Engine, canary: MakeEntry, keys: Callable[[], EnvelopeSeal], rotate: Callable[[], str]
) -> None:
    moved, altered, good = canary(), canary(), canary()
    await write(database, keys(), moved, altered, good)
    with database.begin() as connection:
        one = connection.execute(sa.select(decision).where(decision.c.id == good.id)).one()
        connection.execute(sa.update(decision).where(decision.c.id == moved.id).values(answer=one.answer))
        connection.execute(sa.update(decision).where(decision.c.id == altered.id).values(answer=b"{}"))
    log = StoredDecisions(database, connect=writing_connection(database), seal=keys())
    # Three retries in one transaction: two refused by name, one answered.
    answers = await asyncio.gather(
        *(log.append(canary(key=one.key)) for one in (moved, altered, good)), return_exceptions=True
    )
    assert [type(answer) for answer in answers[:2]] == [NotRecorded, NotRecorded]
    assert not isinstance(answers[2], BaseException)
    assert answers[2].answer == good.answer
    for one_lost in (moved, altered):
        with pytest.raises(NotRecorded, match=r"does not open|altered"):
            await log.get(one_lost.id)
        with pytest.raises(NotRecorded, match=r"does not open|altered"):
            await log.find(one_lost.key, one_lost.request_digest)
    await log.close()
    rotate()
    assert reseal(database, keys()) == Resealed(4, refused=2)


async def test_without_the_keys_nothing_sealed_is_read(
    database: Engine, canary: MakeEntry, keys: Callable[[], EnvelopeSeal], tmp_path: Path
) -> None:
    one = canary()
    await write(database, keys(), one)
    (tmp_path / "keys.json").rename(tmp_path / "elsewhere.json")
    for seal in (PLAIN, keys()):
        log = StoredDecisions(database, connect=writing_connection(database), seal=seal)
        with pytest.raises(NotRecorded):
            await log.get(one.id)
        await log.close()


class NoKeys:
    """Fail as a seal whose keys are gone."""

    def active(self) -> str:
        raise RuleWardError("the keys are gone")

    def seal(self, content: bytes, context: bytes, key_id: str, /) -> bytes:
        raise RuleWardError("the keys are gone")

    def open(self, sealed: bytes, context: bytes, /) -> bytes:
        raise RuleWardError("the keys are gone")

    def blind(self, text: str, field: str, /) -> str:
        raise RuleWardError("the keys are gone")


async def test_a_decision_that_cannot_be_sealed_is_not_written_open(
    database: Engine, canary: MakeEntry
) -> None:
    log = StoredDecisions(database, connect=writing_connection(database), seal=NoKeys())
    with pytest.raises(NotRecorded, match="the keys are gone"):
        await log.append(canary())
    with pytest.raises(NotRecorded, match="the keys are gone"):
        await log.append_feedback((report("card"),))
    await log.close()
    assert rows_by_key(database) == {}


def test_the_step_to_sealed_columns_keeps_what_is_there_forward_and_back(
    empty_url: str, canary: MakeEntry, keys: Callable[[], EnvelopeSeal]
) -> None:
    engine = open_database(empty_url, patience=5.0)
    upgrade(engine, "0001")
    old = canary()
    moment = old.at.astimezone(dt.UTC)
    with engine.begin() as connection:
        insert = sa.text(
            "INSERT INTO decision (id, key, request_digest, interface, stage, at, at_offset, release,"
            " facts_digest, status, findings, not_checked, trace, answer, cards, patient) VALUES (:id, :key,"
            " :digest, 'cds-hooks', 'order_sign', :at, 28800, 'sm3:release', 'sm3:facts', 'findings', 2, 1,"
            " :trace, :answer, :cards, :patient)"
        ).bindparams(sa.bindparam("at", type_=decision.c.at.type))
        connection.execute(
            insert,
            {
                "id": old.id,
                "key": old.key,
                "digest": old.request_digest,
                "at": moment,
                "trace": old.trace,
                "answer": old.answer,
                "cards": json.dumps(old.cards),
                "patient": old.patient,
            },
        )
        comment = sa.text(
            "INSERT INTO feedback (service, card, outcome, outcome_at, accepted_suggestions, reason_code,"
            " reason_system, comment) VALUES ('s', 'c', 'overridden', :at, '[]', '', '', :comment)"
        ).bindparams(sa.bindparam("at", type_=feedback.c.outcome_at.type))
        connection.execute(comment, {"at": moment, "comment": DRUG})

    upgrade(engine)
    new = canary()
    assert asyncio.run(read(engine, keys())) == [old]
    asyncio.run(write(engine, keys(), new))
    reseal(engine, keys())
    assert set(rows_by_key(engine)) == {keys().active()}
    assert {one.id for one in asyncio.run(read(engine, keys()))} == {old.id, new.id}

    with pytest.raises(StoreError, match="bring the keys"):
        downgrade(engine, "0001")
    assert set(rows_by_key(engine)) == {keys().active()}  # nothing happened by halves
    downgrade(engine, "0001", keys())
    with engine.connect() as connection:
        rows = connection.execute(sa.text("SELECT id, patient, trace, answer FROM decision")).all()
        comments = set(connection.execute(sa.text("SELECT comment FROM feedback")).scalars())
    assert {(row[0], row[1], bytes(row[2]), bytes(row[3])) for row in rows} == {
        (one.id, one.patient, one.trace, one.answer) for one in (old, new)
    }
    assert comments == {DRUG, f"{PERSON} 耐受 {DRUG}"}

    upgrade(engine)
    assert {one.id for one in asyncio.run(read(engine, keys()))} == {old.id, new.id}
    engine.dispose()


def test_the_numbers_of_feedback_go_on_after_the_step(tmp_path: Path) -> None:
    engine = open_database(f"sqlite:///{tmp_path}/ruleward.db", patience=5.0)
    upgrade(engine)
    engine.dispose()
    with sqlite3.connect(tmp_path / "ruleward.db") as connection:
        made = connection.execute("SELECT sql FROM sqlite_master WHERE name = 'feedback'").fetchone()[0]
    assert "AUTOINCREMENT" in made
