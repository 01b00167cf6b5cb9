"""The audit log in both databases: one chain, append-only, and in step with what it records."""

from __future__ import annotations

import asyncio
import datetime as dt
import hashlib
import random
import threading
from collections.abc import Callable, Iterator

import pytest
import sqlalchemy as sa
from sqlalchemy.engine import Connection, Engine

from adapters.store.audit_ledger import Ledger
from adapters.store.audit_reading import (
    Sought,
    altered_decisions,
    heads,
    latest_head,
    links,
    reading,
    search,
    sign_head,
    standing,
)
from adapters.store.database import open_database, writing
from adapters.store.decisions import StoredDecisions, writing_connection
from engine.audit import Event, Kind, Result, SignedHead, event
from engine.audit_verify import Fault, Wrong, verify
from engine.errors import NotRecorded
from engine.ports import Entry, FeedbackEntry

_AT = dt.datetime(2026, 3, 1, 8, tzinfo=dt.UTC)


def _digest(content: bytes) -> str:
    return "sha256:" + hashlib.sha256(content).hexdigest()


class _Keys:
    """Seal, sign and vouch with a secret: small, and not for anything else."""

    def __init__(self, secret: str = "one") -> None:
        self.secret = secret

    def active(self) -> str:
        return "k1"

    def seal(self, content: bytes, context: bytes, key_id: str, /) -> bytes:
        return content[::-1]

    def open(self, sealed: bytes, context: bytes, /) -> bytes:
        return sealed[::-1]

    def blind(self, text: str, field: str, /) -> str:
        return _digest(f"{self.secret} {field} {text}".encode())

    def sign(self, content: bytes, /) -> tuple[str, bytes]:
        return "k1", _digest(self.secret.encode() + content).encode()

    def verify(self, content: bytes, key_id: str, signature: bytes, /) -> bool:
        return signature == _digest(self.secret.encode() + content).encode()


_KEYS = _Keys()


def _event(number: int, *, patient: str = "", name: str = "") -> Event:
    at = _AT + dt.timedelta(seconds=number)
    return event(Kind.VIEW, at=at, who=f"user-{number % 3}", patient=patient, object=name)


def _faults(connection: Connection, witness: list[SignedHead] | None = None) -> tuple[Fault, ...]:
    return verify(
        links(connection),
        standing(connection, _KEYS),
        heads(connection),
        witness or [],
        digest=_digest,
        genuine=lambda one: one.signature == _resigned(one),
    ).faults


def _resigned(one: SignedHead) -> bytes:
    from engine.audit import head_content

    return _KEYS.sign(head_content(one.head))[1]


def _sign(engine: Engine) -> SignedHead:
    with reading(engine) as connection:
        seen, before = standing(connection, _KEYS), latest_head(connection)
    signed = sign_head(engine, _KEYS, _digest, _AT, seen, before)
    assert signed is not None
    return signed


@pytest.fixture
def ledger(database: Engine) -> Ledger:
    return Ledger(database.dialect.name, _digest, _KEYS)


@pytest.fixture
async def log(database: Engine, ledger: Ledger) -> Iterator[StoredDecisions]:  # type: ignore[misc]
    log = StoredDecisions(database, connect=writing_connection(database), seal=_KEYS, ledger=ledger)
    yield log
    await log.close()


async def test_decisions_feedback_and_events_stand_in_one_chain(
    database: Engine, log: StoredDecisions, entry: Callable[..., Entry]
) -> None:
    made = [entry(who="his", source="10.0.0.7") for _ in range(40)]
    await asyncio.gather(*(log.append(one) for one in made))
    said = FeedbackEntry(service="s", card="c", outcome="overridden", outcome_at=_AT, who="u")
    await log.append_feedback((said,))
    await log.record(_event(1), _event(2))
    _sign(database)
    with reading(database) as connection:
        found = list(links(connection))
        assert [link.index for link in found] == list(range(1, 44))
        assert _faults(connection) == ()
        assert list(altered_decisions(connection, _digest, _KEYS, None)) == []
    kinds = [link.event.kind for link in found]
    assert kinds == [Kind.CHECK] * 40 + [Kind.OVERRIDE] + [Kind.VIEW] * 2
    assert {link.event.object for link in found[:40]} == {f"decision/{one.id}" for one in made}
    assert (found[0].event.who, found[0].event.source) == ("his", "10.0.0.7")
    assert found[0].event.patient == _KEYS.blind("p-1", "decision/patient")


async def test_a_key_that_comes_a_thousand_times_has_one_entry(
    database: Engine, log: StoredDecisions, entry: Callable[..., Entry]
) -> None:
    one = entry()
    answers = [(await log.append(one)).answer for _ in range(700)]
    answers += [r.answer for r in await asyncio.gather(*(log.append(one) for _ in range(300)))]
    said = FeedbackEntry(service="s", card="c", outcome="accepted", outcome_at=_AT)
    for _ in range(5):
        await log.append_feedback((said, said))
    assert set(answers) == {one.answer}
    with reading(database) as connection:
        assert [link.event.kind for link in links(connection)] == [Kind.CHECK, Kind.FEEDBACK]
        assert _faults(connection) == ()


async def test_what_cannot_be_audited_is_not_recorded_either(
    database: Engine, log: StoredDecisions, entry: Callable[..., Entry]
) -> None:
    with database.begin() as connection:
        connection.execute(sa.text("ALTER TABLE audit_entry RENAME TO gone"))
    one = entry()
    with pytest.raises(NotRecorded):
        await log.append(one)
    with database.begin() as connection:
        connection.execute(sa.text("ALTER TABLE gone RENAME TO audit_entry"))
    assert await log.get(one.id) is None
    await log.append(one)
    with reading(database) as connection:
        assert _faults(connection) == ()


async def test_several_writers_share_one_chain_without_gaps(url: str, entry: Callable[..., Entry]) -> None:
    engines = [open_database(url, patience=20.0) for _ in range(3)]
    ledgers = [Ledger(one.dialect.name, _digest, _KEYS) for one in engines]
    logs = [
        StoredDecisions(one, connect=writing_connection(one), seal=_KEYS, ledger=ledger, patience=20.0)
        for one, ledger in zip(engines, ledgers, strict=True)
    ]

    def record() -> None:
        for number in range(30):
            ledgers[0].record(engines[0], _event(number))

    thread = threading.Thread(target=record)
    thread.start()
    for _ in range(5):
        await asyncio.gather(*(log.append(entry(at=_AT)) for log in logs for _ in range(20)))
    thread.join()
    for log in logs:
        await log.close()
    with reading(engines[0]) as connection:
        assert [link.index for link in links(connection)] == list(range(1, 331))
        assert [fault for fault in _faults(connection) if fault.wrong is not Wrong.CLOCK] == []
    for one in engines:
        one.dispose()


def test_nothing_changes_or_deletes_an_entry_or_a_head(database: Engine, ledger: Ledger) -> None:
    ledger.record(database, _event(1))
    _sign(database)
    statements = [
        "UPDATE audit_entry SET who = 'another'",
        "DELETE FROM audit_entry",
        "UPDATE audit_head SET idx = 0",
        "DELETE FROM audit_head",
        "DELETE FROM audit_chain",
    ]
    if database.dialect.name == "postgresql":
        statements += ["TRUNCATE audit_entry", "TRUNCATE audit_head", "TRUNCATE audit_chain"]
    else:
        statements.append("INSERT OR REPLACE INTO audit_entry SELECT * FROM audit_entry")
    for statement in statements:
        with pytest.raises(sa.exc.DBAPIError, match="append-only"), writing(database) as connection:
            connection.execute(sa.text(statement))


def test_an_event_goes_with_the_transaction_that_it_records(database: Engine, ledger: Ledger) -> None:
    with database.connect() as connection, connection.begin() as transaction:
        ledger.add(connection, _event(1))
        transaction.rollback()
    with reading(database) as connection:
        assert list(links(connection)) == []
        assert standing(connection, _KEYS).index == 0


_TAMPERING: dict[str, Callable[[Connection, random.Random, int], None]] = {}


def _tampers(
    act: Callable[[Connection, random.Random, int], None],
) -> Callable[[Connection, random.Random, int], None]:
    _TAMPERING[act.__name__.removeprefix("_").replace("_", " ")] = act
    return act


def _run(connection: Connection, statement: str, **values: object) -> None:
    connection.execute(sa.text(statement), values)


@_tampers
def _edit(connection: Connection, chance: random.Random, size: int) -> None:
    column = chance.choice(["who", "kind", "result", "object", "patient", "detail", "digest", "previous"])
    value = {"kind": "login", "result": "denied"}.get(column, "another")
    _run(
        connection, f"UPDATE audit_entry SET {column} = :v WHERE idx = :i", v=value, i=chance.randint(1, size)
    )


@_tampers
def _delete(connection: Connection, chance: random.Random, size: int) -> None:
    _run(connection, "DELETE FROM audit_entry WHERE idx = :i", i=chance.randint(1, size))


@_tampers
def _swap(connection: Connection, chance: random.Random, size: int) -> None:
    one, other = chance.sample(range(1, size + 1), 2)
    for old, new in ((one, -1), (other, one), (-1, other)):
        _run(connection, "UPDATE audit_entry SET idx = :new WHERE idx = :old", old=old, new=new)


@_tampers
def _insert(connection: Connection, chance: random.Random, size: int) -> None:
    place = chance.randint(1, size)
    for index in range(size, place, -1):
        _run(connection, "UPDATE audit_entry SET idx = :new WHERE idx = :old", old=index, new=index + 1)
    _run(
        connection,
        "INSERT INTO audit_entry SELECT :i, at, kind, 'another', result, source, object, patient, payload,"
        " detail, note, previous, digest FROM audit_entry WHERE idx = :from",
        **{"i": place + 1, "from": place},
    )


@_tampers
def _cut_the_tail(connection: Connection, chance: random.Random, size: int) -> None:
    _run(connection, "DELETE FROM audit_entry WHERE idx > :i", i=chance.randint(1, size - 1))


@_tampers
def _cut_the_tail_and_its_note(connection: Connection, chance: random.Random, size: int) -> None:
    last = chance.randint(1, size - 1)
    _run(connection, "DELETE FROM audit_entry WHERE idx > :i", i=last)
    _run(
        connection,
        "UPDATE audit_chain SET idx = :i, digest = (SELECT digest FROM audit_entry WHERE idx = :i)",
        i=last,
    )


@_tampers
def _restore_an_old_backup(connection: Connection, chance: random.Random, size: int) -> None:
    """Entries, heads and note as they were then: only the witness knows better."""
    last = chance.randint(1, size - 20)
    _run(connection, "DELETE FROM audit_entry WHERE idx > :i", i=last)
    _run(connection, "DELETE FROM audit_head WHERE idx > :i", i=last)
    row = connection.execute(
        sa.text("SELECT c.chain, e.digest FROM audit_chain c, audit_entry e WHERE e.idx = :i"), {"i": last}
    ).one()
    mac = _KEYS.blind(f"{row.chain}/{last}/{row.digest}", "audit/chain")
    _run(connection, "UPDATE audit_chain SET idx = :i, digest = :d, mac = :m", i=last, d=row.digest, m=mac)


def _unlock(connection: Connection) -> None:
    """Take the triggers away, as somebody with the rights of the owner can."""
    if connection.dialect.name == "postgresql":
        for table in ("audit_entry", "audit_head", "audit_chain"):
            _run(connection, f"ALTER TABLE {table} DISABLE TRIGGER USER")
        return
    names = connection.execute(sa.text("SELECT name FROM sqlite_master WHERE type = 'trigger'")).scalars()
    for name in list(names):
        _run(connection, f"DROP TRIGGER {name}")


def test_tampering_in_the_database_itself_is_found(database: Engine, ledger: Ledger) -> None:
    size, witness = 60, []
    for number in range(6):
        ledger.record(database, *[_event(10 * number + one) for one in range(10)])
        if number in (2, 4):
            witness.append(_sign(database))
    chance = random.Random(7)
    unseen = []
    with database.connect() as connection:
        for number in range(140):
            name, tamper = list(_TAMPERING.items())[number % len(_TAMPERING)]
            with connection.begin() as transaction:
                assert number or _faults(connection, witness) == ()
                _unlock(connection)
                tamper(connection, chance, size)
                if not _faults(connection, witness):
                    unseen.append(f"{number}: {name}")
                transaction.rollback()
    assert unseen == []


async def test_a_decision_that_was_altered_deleted_or_slipped_in_is_named(
    database: Engine, log: StoredDecisions, entry: Callable[..., Entry]
) -> None:
    made = [entry() for _ in range(6)]
    for one in made:
        await log.append(one)
    with writing(database) as connection:
        _run(connection, "UPDATE decision SET findings = 0 WHERE id = :i", i=made[1].id)
        _run(connection, "DELETE FROM decision WHERE id = :i", i=made[2].id)
        _run(connection, "UPDATE decision SET id = 'x' WHERE id = :i", i=made[4].id)
    with reading(database) as connection:
        found = {fault.what for fault in altered_decisions(connection, _digest, _KEYS, None)}
        assert _faults(connection) == ()
    assert found == {
        f"decision {made[1].id} is not what entry 2 recorded",
        f"decision {made[2].id}, recorded by entry 3, is missing",
        f"decision {made[4].id}, recorded by entry 5, is missing",
        "decision x stands there without an audit entry",
    }


def test_who_cannot_vouch_for_the_end_does_not_move_it_unseen(database: Engine, ledger: Ledger) -> None:
    ledger.record(database, _event(1), _event(2))
    Ledger(database.dialect.name, _digest, _Keys("another")).record(database, _event(3))
    with reading(database) as connection:
        assert not standing(connection, _KEYS).genuine
    ledger.record(database, _event(4))
    with reading(database) as connection:
        kinds = [(link.event.kind, link.event.result) for link in links(connection)]
    assert kinds.count((Kind.CHAIN_BROKEN, Result.FAILURE)) == 2  # each side says so of the other


def test_keys_that_come_later_are_noted_where_they_begin(database: Engine, ledger: Ledger) -> None:
    Ledger(database.dialect.name, _digest).record(database, _event(1))
    ledger.record(database, _event(2))
    with reading(database) as connection:
        assert [link.event.kind for link in links(connection)] == [Kind.VIEW, Kind.KEY_CHANGE, Kind.VIEW]
        assert _faults(connection) == ()


def test_entries_are_found_by_who_what_patient_and_time(database: Engine, ledger: Ledger) -> None:
    ledger.record(database, *[_event(one, patient=f"b{one % 2}", name=f"o/{one}") for one in range(12)])
    with reading(database) as connection:

        def found(sought: Sought, **page: int) -> list[int]:
            return [link.index for link in search(connection, sought, **page)]

        assert found(Sought(who="user-1")) == [11, 8, 5, 2]
        assert found(Sought(patient="b0", who="user-0")) == [7, 1]
        assert found(Sought(object="o/4")) == [5]
        assert found(Sought(kind=Kind.LOGIN)) == []
        since = _AT + dt.timedelta(seconds=3)
        assert found(Sought(since=since, until=since + dt.timedelta(seconds=2))) == [5, 4]
        assert found(Sought(), limit=3) == [12, 11, 10]
        assert found(Sought(), limit=3, before=10) == [9, 8, 7]


def test_a_head_is_signed_once_however_many_sign(database: Engine, ledger: Ledger) -> None:
    ledger.record(database, _event(1))
    with reading(database) as connection:
        seen = standing(connection, _KEYS)
    assert sign_head(database, _KEYS, _digest, _AT, seen, None) is not None
    assert sign_head(database, _KEYS, _digest, _AT, seen, None) is None
