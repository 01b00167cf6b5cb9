"""``ruleward keys`` shows, rotates and seals anew on a database that holds decisions."""

from __future__ import annotations

import argparse
import asyncio
import datetime as dt
import uuid
from collections.abc import Callable
from pathlib import Path

import pytest

from adapters.gm_crypto import settings as crypto
from adapters.gm_crypto.envelope import EnvelopeSeal
from adapters.gm_crypto.keys import State, Use
from adapters.gm_crypto.provider import CryptoError
from adapters.store.database import open_database
from adapters.store.decisions import StoredDecisions, writing_connection
from adapters.store.resealing import rows_by_key
from adapters.store.sealing import PLAIN
from api import keys_cli
from engine.ports import Entry

Run = Callable[..., int]


@pytest.fixture
def site(tmp_path: Path, url: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """Give the URL of the database of a site whose settings stand in the environment."""
    for name, value in {
        "RULEWARD_DATA": str(tmp_path / "var"),
        "RULEWARD_DATABASE_URL": url,
        "RULEWARD_MODE": "demo",
        "RULEWARD_KEY_PASSPHRASE": "correct horse battery",
    }.items():
        monkeypatch.setenv(name, value)
    # Workers take up a new key within seconds; there are none here to wait for.
    monkeypatch.setattr("api.keys_cli.sleep", lambda _: None)
    return url


@pytest.fixture
def run(site: str) -> Run:
    """Return what runs one verb of ``ruleward keys``."""

    def ruleward_keys(*words: str) -> int:
        parser = argparse.ArgumentParser()
        keys_cli.add_verbs(parser.add_subparsers(required=True))
        options = parser.parse_args(["keys", *words])
        code: int = options.run(options)
        return code

    return ruleward_keys


def keys(passphrase: str, data: Path) -> EnvelopeSeal:
    environment = {"RULEWARD_KEY_PASSPHRASE": passphrase}
    return EnvelopeSeal(*crypto.open_keys(crypto.read(environment, data, demo=False)))


def entry() -> Entry:
    identity = str(uuid.uuid4())
    return Entry(
        id=identity,
        key=identity,
        request_digest="sm3:request",
        interface="cds-hooks",
        stage="order_sign",
        at=dt.datetime.now(dt.UTC),
        release="sm3:release",
        facts_digest="sm3:facts",
        status="findings",
        findings=1,
        not_checked=0,
        trace=b"{}",
        answer=b"{}",
        patient="p-1",
    )


def write(url: str, data: Path, *, sealed: bool) -> None:
    async def append() -> None:
        engine = open_database(url, patience=5.0)
        seal = keys("correct horse battery", data) if sealed else PLAIN
        log = StoredDecisions(engine, connect=writing_connection(engine), seal=seal)
        await asyncio.gather(*(log.append(entry()) for _ in range(5)))
        await log.close()
        engine.dispose()

    asyncio.run(append())


def test_open_rows_are_named_then_sealed_then_rotated(
    run: Run, site: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(site, tmp_path / "var", sealed=False)
    assert run("status") == 0
    assert "5 rows are not sealed. Write: ruleward keys reseal --compact" in capsys.readouterr().out

    assert run("reseal", "--compact") == 0
    assert "5 rows are sealed anew, 0 do not open" in capsys.readouterr().out
    write(site, tmp_path / "var", sealed=True)
    first = keys("correct horse battery", tmp_path / "var").active()

    assert run("rotate") == 0
    said = capsys.readouterr().out
    made = keys("correct horse battery", tmp_path / "var").active()
    assert f"{made} is the active key for data" in said
    assert f"{first} is retired" in said
    engine = open_database(site, patience=5.0)
    assert rows_by_key(engine) == {made: 10}
    engine.dispose()

    assert run("status") == 0
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    data = {line[0]: (line[2], line[-2]) for line in lines if line[1] == Use.DATA}
    assert data == {first: (State.RETIRED, "0"), made: (State.ACTIVE, "10")}


def test_the_signing_key_rotates_by_itself(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("rotate", "--use", "sign") == 0
    assert "active key for sign" in capsys.readouterr().out
    assert run("status") == 0
    assert [line.split()[1] for line in capsys.readouterr().out.splitlines()[1:]].count("sign") == 2


def test_the_passphrase_changes_and_the_old_one_opens_nothing(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert run("status") == 0
    (tmp_path / "new").write_text("another horse battery\n")
    assert run("passphrase", str(tmp_path / "new")) == 0
    with pytest.raises(CryptoError, match="passphrase is not the file's"):
        run("status")
    monkeypatch.setenv("RULEWARD_KEY_PASSPHRASE", "another horse battery")
    assert run("status") == 0


def test_rows_whose_key_is_gone_are_named(
    run: Run, site: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(site, tmp_path / "var", sealed=True)
    lost = keys("correct horse battery", tmp_path / "var").active()
    (tmp_path / "var" / "keys.json").unlink()
    assert run("status") == 1
    assert f"5 rows are under the key {lost}, which is not in the key store." in capsys.readouterr().out
    assert run("reseal") == 1
    assert "0 rows are sealed anew, 5 do not open" in capsys.readouterr().out
