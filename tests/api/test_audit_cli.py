"""The verbs of the audit log, of backup, restore and archive, at the prompt and under load."""

from __future__ import annotations

import argparse
import asyncio
import datetime as dt
import shutil
import subprocess
import threading
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
import sqlalchemy as sa

from adapters.gm_crypto.sm3 import sm3
from adapters.releases.lead import Lead
from adapters.store.audit_ledger import Ledger
from adapters.store.audit_reading import latest_head, links, reading, standing
from adapters.store.backup import put_back
from adapters.store.backup_file import read_backup, read_header
from adapters.store.database import StoreError, open_database, upgrade, writing
from adapters.store.decisions import StoredDecisions, get_decision, writing_connection
from adapters.store.sealing import PLAIN
from api import archive_cli, audit_cli, backup_cli
from api.audit_cli import Opened, open_audit
from api.audit_keeper import AuditKeeper
from api.auditing import ClockWatch, read_witness
from engine.audit import Kind, event
from engine.errors import NotRecorded, RuleWardError
from engine.ports import Entry

_AT = dt.datetime(2026, 3, 1, 8, tzinfo=dt.UTC)
Run = Callable[..., int]


def _open(url: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Opened]:
    """Open a site in demo mode with keys of its own."""
    monkeypatch.setenv("RULEWARD_MODE", "demo")
    monkeypatch.setenv("RULEWARD_DATA", str(folder / "data"))
    monkeypatch.setenv("RULEWARD_DATABASE_URL", url)
    monkeypatch.setenv("RULEWARD_PATIENCE", "10")
    opened = open_audit()
    yield opened
    opened.engine.dispose()


@pytest.fixture
def site(url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Opened]:
    """Give a site on either database."""
    yield from _open(url, tmp_path, monkeypatch)


@pytest.fixture
def small_site(sqlite_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Opened]:
    """Give a site on SQLite, for what does not ask which database it is."""
    yield from _open(sqlite_url, tmp_path, monkeypatch)


@pytest.fixture
def run() -> Run:
    """Run a verb as the prompt does."""
    parser = argparse.ArgumentParser()
    verbs = parser.add_subparsers(required=True)
    for module in (audit_cli, backup_cli, archive_cli):
        module.add_verbs(verbs)

    def verb(*words: object) -> int:
        options = parser.parse_args([str(word) for word in words])
        code: int = options.run(options)
        return code

    return verb


def _entry(at: dt.datetime = _AT) -> Entry:
    identity = str(uuid.uuid4())
    return Entry(
        id=identity,
        key=identity,
        request_digest="r",
        interface="decisions",
        stage="order_sign",
        at=at,
        release="rel",
        facts_digest="f",
        status="findings",
        findings=1,
        not_checked=0,
        trace=b"{}",
        answer=identity.encode(),
        patient="patient-canary-4711",
    )


def _log(site: Opened) -> StoredDecisions:
    return StoredDecisions(
        site.engine,
        connect=writing_connection(site.engine),
        seal=site.seal,
        ledger=site.ledger,
        patience=10.0,
        stop=lambda reason: None,
    )


def _note(site: Opened, count: int = 5) -> None:
    for number in range(count):
        site.ledger.record(site.engine, event(Kind.LOGIN, at=_AT, who=f"user-{number}"))


def _keeper(site: Opened, witness: Path | None = None, **more: Any) -> AuditKeeper:
    clock: Callable[[], dt.datetime] = more.pop("clock", site.now)
    watch = ClockWatch(clock, more.pop("monotonic", lambda: 0.0), tolerance=more.pop("tolerance", 3600.0))
    return AuditKeeper(site.engine, site.ledger, site.signer, site.seal, sm3, clock, watch, witness, **more)


def _tamper(site: Opened, statement: str) -> None:
    with writing(site.engine) as connection:
        if site.engine.dialect.name == "postgresql":
            for table in ("audit_entry", "audit_head", "audit_chain"):
                connection.execute(sa.text(f"ALTER TABLE {table} DISABLE TRIGGER USER"))
        else:
            names = connection.execute(sa.text("SELECT name FROM sqlite_master WHERE type = 'trigger'"))
            for name in list(names.scalars()):
                connection.execute(sa.text(f"DROP TRIGGER {name}"))
        connection.execute(sa.text(statement))


def test_a_whole_log_verifies_and_an_altered_entry_is_named(
    site: Opened, run: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    _note(site)
    assert run("audit", "verify") == 0
    assert "5 entries to index 5, 0 signed heads to index 0" in capsys.readouterr().out
    _tamper(site, "UPDATE audit_entry SET who = 'nobody' WHERE idx = 3")
    assert run("audit", "verify") == 1
    assert "altered: entry 3 is not what its digest says" in capsys.readouterr().out
    with pytest.raises(RuleWardError, match="not whole, so its head is not signed"):
        run("audit", "head")


def test_the_head_is_signed_by_sm2_and_a_witness_shows_what_was_cut_off(
    small_site: Opened, run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _note(small_site)
    witness = tmp_path / "elsewhere" / "heads"
    assert run("audit", "head", "--to", witness) == 0
    (signed,) = read_witness(witness)
    assert signed.head.index == 5
    assert run("audit", "verify", "--witness", witness) == 0
    with small_site.engine.connect() as connection:
        last = next(link for link in links(connection) if link.index == 3)
    _tamper(small_site, "DELETE FROM audit_entry WHERE idx > 3")
    _tamper(small_site, "DELETE FROM audit_head")
    mac = small_site.seal.blind(f"{signed.head.chain}/3/{last.digest}", "audit/chain")
    _tamper(small_site, f"UPDATE audit_chain SET idx = 3, digest = '{last.digest}', mac = '{mac}'")
    assert run("audit", "verify") == 0  # as whole as it was then
    capsys.readouterr()
    assert run("audit", "verify", "--witness", witness) == 1
    assert "rolled back: the witness holds head 1 over 5 entries" in capsys.readouterr().out


async def test_a_decision_that_was_altered_is_named(
    site: Opened, run: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    log = _log(site)
    made = [_entry() for _ in range(4)]
    for one in made:
        await log.append(one)
    await log.close()
    assert run("audit", "verify", "--decisions") == 0
    _tamper(site, f"UPDATE decision SET findings = 0 WHERE id = '{made[2].id}'")
    capsys.readouterr()
    assert run("audit", "verify", "--decisions") == 1
    assert f"altered: decision {made[2].id} is not what entry 3 recorded" in capsys.readouterr().out


def test_an_export_tells_its_rows_and_digest_in_the_log_itself(
    small_site: Opened, run: Run, tmp_path: Path
) -> None:
    _note(small_site)
    out = tmp_path / "audit.ndjson"
    assert run("audit", "export", out, "--who", "user-2") == 0
    assert out.read_text().count("\n") == 1
    with reading(small_site.engine) as connection:
        noted = list(links(connection))[-1].event
    assert noted.kind is Kind.EXPORT
    assert sm3(out.read_bytes()) in noted.detail
    assert '"rows":1' in noted.detail


def test_the_keeper_signs_what_it_verified_and_tells_the_witness(small_site: Opened, tmp_path: Path) -> None:
    witness = tmp_path / "witness"
    keeper = _keeper(small_site, witness)
    assert keeper.round() is None
    for number in range(1, 4):
        _note(small_site, 2)
        signed = keeper.round()
        assert signed is not None
        assert signed.head.index == 2 * number
        assert keeper.round() is None
    assert [one.head.number for one in read_witness(witness)] == [1, 2, 3]
    assert keeper.trouble is None


def test_the_keeper_signs_nothing_over_what_was_altered_and_says_so_once(small_site: Opened) -> None:
    keeper = _keeper(small_site)
    _note(small_site)
    keeper.round()
    _note(small_site)
    _tamper(small_site, "UPDATE audit_entry SET who = 'nobody' WHERE idx = 7")
    assert keeper.round() is None
    assert keeper.round() is None
    assert keeper.trouble is not None
    assert "entry 7" in keeper.trouble
    with reading(small_site.engine) as connection:
        latest = latest_head(connection)
        kinds = [link.event.kind for link in links(connection)]
    assert latest is not None
    assert latest.head.index == 5
    assert kinds.count(Kind.CHAIN_BROKEN) == 1


def test_the_keeper_notices_an_older_state_that_came_back(small_site: Opened, tmp_path: Path) -> None:
    witness = tmp_path / "witness"
    keeper = _keeper(small_site, witness)
    _note(small_site)
    keeper.round()
    _tamper(small_site, "DELETE FROM audit_head")
    _keeper(small_site, witness).round()
    with reading(small_site.engine) as connection:
        kinds = [link.event.kind for link in links(connection)]
    assert kinds[-1] is Kind.CHAIN_BROKEN


def test_a_jump_of_the_clock_is_an_event(small_site: Opened) -> None:
    wall, running = [_AT], [0.0]
    keeper = _keeper(small_site, clock=lambda: wall[0], monotonic=lambda: running[0], tolerance=1.0)
    for seconds, real in ((60.0, 60.0), (60.4, 60.0), (60.0 - 3600.0, 60.0)):
        wall[0] += dt.timedelta(seconds=seconds)
        running[0] += real
        keeper.round()
    with reading(small_site.engine) as connection:
        found = [link.event for link in links(connection)]
    assert [(one.kind, one.detail) for one in found] == [(Kind.CLOCK_JUMP, '{"seconds":-3600}')]


def _destroy(site: Opened, postgres: Callable[[], Any]) -> None:
    """Take the database away while it is written to."""
    if site.engine.dialect.name == "sqlite":
        shutil.rmtree(Path(str(site.engine.url.database)).parent)
        return
    name = site.engine.url.database
    with psycopg.connect(postgres().url("postgres"), autocommit=True) as connection:
        connection.execute(f'DROP DATABASE "{name}" WITH (FORCE)')


def test_a_database_destroyed_under_load_comes_back_with_every_decision_up_to_the_backup(
    site: Opened, run: Run, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    acknowledged: list[Entry] = []
    stopped = threading.Event()

    async def load() -> None:
        log = _log(site)

        async def one() -> None:
            while not stopped.is_set():
                entry = _entry()
                try:
                    await log.append(entry)
                except NotRecorded:
                    return
                acknowledged.append(entry)

        await asyncio.gather(*(one() for _ in range(8)))
        await log.close()

    thread = threading.Thread(target=lambda: asyncio.run(load()))
    thread.start()
    backup = tmp_path / "backup"
    try:
        while len(acknowledged) < 100:
            stopped.wait(0.01)
        before = list(acknowledged)
        assert run("backup", backup) == 0
        while len(acknowledged) < len(before) + 50:
            stopped.wait(0.01)
        _destroy(site, lambda: request.getfixturevalue("postgres"))
    finally:
        stopped.set()
        thread.join()
    site.engine.dispose()
    if site.engine.dialect.name == "postgresql":
        with psycopg.connect(request.getfixturevalue("postgres").url("postgres"), autocommit=True) as server:
            server.execute(f'CREATE DATABASE "{site.engine.url.database}"')

    assert run("restore", backup) == 0
    for entry in before:
        assert get_decision(site.engine, entry.id, site.seal) == entry
    assert run("audit", "verify", "--decisions") == 0
    with reading(site.engine) as connection:
        assert list(links(connection))[-1].event.kind is Kind.RESTORE
        assert standing(connection, site.seal).genuine


def test_a_backup_is_sealed_and_opens_with_the_keys_only(site: Opened, run: Run, tmp_path: Path) -> None:
    _note(site)
    backup = tmp_path / "backup"
    run("backup", backup)
    content = backup.read_bytes()
    for canary in (b"SQLite format", b"PGDMP", b"user-2", b"audit_entry"):
        assert canary not in content
    assert backup.stat().st_mode & 0o077 == 0
    assert read_header(backup).index == 5
    with pytest.raises(RuleWardError, match="sealed"):
        list(read_backup(backup, PLAIN))


def test_a_backup_that_was_altered_anywhere_touches_nothing(
    small_site: Opened, run: Run, tmp_path: Path
) -> None:
    _note(small_site)
    backup = tmp_path / "backup"
    run("backup", backup)
    content = backup.read_bytes()
    places = [0, 20, 60, content.index(b"\n", 30) + 2, len(content) // 2, len(content) - 40, len(content) - 1]
    bad = [content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :] for at in places]
    for altered in [*bad, content[:-1], content[: len(content) // 2], content + b"x", b""]:
        backup.write_bytes(altered)
        with pytest.raises(RuleWardError):
            put_back(small_site.engine, backup, small_site.seal)
    assert run("audit", "verify") == 0


def test_a_restore_asks_before_it_replaces_and_waits_for_the_service_to_stop(
    site: Opened, run: Run, tmp_path: Path
) -> None:
    _note(site)
    backup = tmp_path / "backup"
    run("backup", backup)
    with pytest.raises(RuleWardError, match="Write --replace"):
        run("restore", backup)
    lead = Lead(site.engine)
    assert lead.take()
    with pytest.raises(RuleWardError, match="Stop it first"):
        run("restore", backup, "--replace")
    lead.give_up()
    _note(site)
    site.engine.dispose()
    assert run("restore", backup, "--replace") == 0
    with reading(site.engine) as connection:
        assert [link.event.kind for link in links(connection)] == [Kind.LOGIN] * 5 + [Kind.RESTORE]


def test_a_backup_of_the_other_kind_of_database_is_refused(
    site: Opened, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    backup = tmp_path / "backup"
    run("backup", backup)
    if site.engine.dialect.name == "sqlite":
        other = request.getfixturevalue("postgres").new_database()
    else:
        other = f"sqlite:///{tmp_path}/other.db"
    monkeypatch.setenv("RULEWARD_DATABASE_URL", other)
    with pytest.raises(StoreError, match="and this database is"):
        run("restore", backup)


def test_the_archive_keeps_at_least_six_months(
    small_site: Opened, run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    month = f"{small_site.now() - dt.timedelta(days=100):%Y-%m}"
    with pytest.raises(ValueError, match="decisions stay 183 days"):
        run("archive", "--before", month)
    monkeypatch.setenv("RULEWARD_RETENTION_DAYS", "30")
    with pytest.raises(ValueError, match="fewer than six months"):
        run("archive", "--before", "2020-01")
    monkeypatch.setenv("RULEWARD_RETENTION_DAYS", "400")
    assert run("archive", "--before", "2020-01") == 0
    assert not (tmp_path / "data" / "archive").exists()


def test_openssl_verifies_the_signature_of_a_head(small_site: Opened, run: Run, tmp_path: Path) -> None:
    from adapters.gm_crypto.keys import Use
    from adapters.gm_crypto.settings import open_keys, read
    from adapters.gm_crypto.sm2_keys import public_to_pem
    from engine.audit import head_content

    _note(small_site)
    witness = tmp_path / "heads"
    run("audit", "head", "--to", witness)
    (signed,) = read_witness(witness)
    provider, store = open_keys(read({}, small_site.settings.data, demo=True))
    key = store.ring().active(Use.SIGN)
    (tmp_path / "pub.pem").write_text(public_to_pem(provider.public_key(key.material)))
    (tmp_path / "head").write_bytes(head_content(signed.head))
    (tmp_path / "sig").write_bytes(signed.signature)
    words = (
        "openssl pkeyutl -verify -pubin -inkey pub.pem -rawin -digest sm3 -pkeyopt distid:1234567812345678"
    )
    done = subprocess.run(
        [*words.split(), "-in", "head", "-sigfile", "sig"], cwd=tmp_path, capture_output=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_a_ledger_without_keys_holds_no_trace_of_the_patient(sqlite_url: str) -> None:
    engine = open_database(sqlite_url, patience=5.0)
    upgrade(engine)
    assert Ledger(engine.dialect.name, sm3).blind("patient-canary-4711") == ""
    engine.dispose()
