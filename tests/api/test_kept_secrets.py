"""Secrets of identity lie under the data keys, follow a rotation, and leave no old key needed."""

from __future__ import annotations

import argparse
import datetime as dt
import json
import secrets
from collections.abc import Callable
from pathlib import Path

import argon2
import pyotp
import pytest
from joserfc import jwk, jwt

from adapters.gm_crypto import settings as crypto
from adapters.gm_crypto.envelope import EnvelopeSeal
from adapters.identity.seal import FileSeal, KeptSeal
from adapters.identity.sign_in import SignIn
from adapters.store.database import open_database, upgrade
from adapters.store.resealing import Resealed
from adapters.store.resealing_secrets import reseal_secrets, secrets_by_key
from api import keys_cli
from api.accounts import NewAccount, account_of
from api.identity import Identity, log_happening
from api.settings import read_settings
from api.wire import Worker
from engine.access import Role

BASE = "https://ruleward.example"
PASSPHRASE = "correct horse battery"
ENVIRONMENT = {
    "RULEWARD_MODE": "production",
    "RULEWARD_BASE_URL": BASE,
    "RULEWARD_KEY_PASSPHRASE": PASSPHRASE,
}
Run = Callable[..., int]


@pytest.fixture
def environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """Give the settings of a site, which stand in the environment of the prompt too."""
    told = ENVIRONMENT | {"RULEWARD_DATA": str(tmp_path)}
    for name, value in told.items():
        monkeypatch.setenv(name, value)
    # Workers take up a new key within seconds; there are none here to wait for.
    monkeypatch.setattr("api.keys_cli.sleep", lambda _: None)
    return told


@pytest.fixture
def run(environment: dict[str, str]) -> Run:
    """Return what runs one verb of ``ruleward keys``."""

    def ruleward_keys(*words: str) -> int:
        parser = argparse.ArgumentParser()
        keys_cli.add_verbs(parser.add_subparsers(required=True))
        options = parser.parse_args(["keys", *words])
        return int(options.run(options))

    return ruleward_keys


def keeper(environment: dict[str, str]) -> EnvelopeSeal:
    data = Path(environment["RULEWARD_DATA"])
    return EnvelopeSeal(*crypto.open_keys(crypto.read(environment, data, demo=False)))


def worker(environment: dict[str, str]) -> Worker:
    made = Worker(read_settings(environment, Path(environment["RULEWARD_DATA"]) / "rules"))
    upgrade(made.engine)
    return made


def enrolled(identity: Identity, at: dt.datetime, name: str) -> tuple[str, str]:
    """Add a doctor whose one-time codes are enrolled; returns the TOTP secret and the password."""
    wanted = NewAccount(
        name=name, title="王医生", staff_number=name, roles=(Role.DOCTOR,), departments=("icu",)
    )
    account, password = account_of(wanted, identity.passwords, at)
    identity.store.add(account)
    identity.store.change(account.id, must_change_password=False)
    session = identity.sign_in.password(name, password)
    standing = identity.sign_in.standing(session)
    assert standing is not None
    key, _ = identity.sign_in.begin_one_time(standing)
    standing = identity.sign_in.standing(session)
    assert standing is not None
    # The code of the step before: each counts once, and this step's signs in below.
    identity.sign_in.confirm_one_time(standing, pyotp.TOTP(key).at(at - dt.timedelta(seconds=30)))
    return key, password


def signed_in(sign_in: SignIn, name: str, password: str, key: str, at: dt.datetime) -> str:
    """Return what a session of both factors still lacks."""
    standing = sign_in.standing(sign_in.password(name, password))
    assert standing is not None
    assert standing.lacks == "factor"
    after = sign_in.standing(sign_in.one_time(standing, pyotp.TOTP(key).at(at + dt.timedelta(seconds=30))))
    assert after is not None
    return after.lacks


def token(identity: Identity, at: dt.datetime) -> str:
    claims: dict[str, object] = {
        "iss": BASE, "aud": BASE, "sub": "one", "iat": int(at.timestamp()), "exp": int(at.timestamp()) + 300,
        "jti": secrets.token_hex(8),
    }  # fmt: skip
    return identity.keys.sign(claims, "at+jwt")


def counts(identity: Identity, signed: str) -> bool:
    shown = jwk.KeySet.import_key_set(json.loads(json.dumps(identity.keys.shown())))
    return bool(jwt.decode(signed, shown, algorithms=["ES256"]).claims["sub"] == "one")


def test_sign_in_and_tokens_go_on_after_a_rotation_and_without_the_old_key(
    environment: dict[str, str], run: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    before = worker(environment)
    at = before.clock()
    before.identity.passwords._hasher = argon2.PasswordHasher(1, 8, 1)
    key, password = enrolled(before.identity, at, "wang")
    signed = token(before.identity, at)
    first = keeper(environment).active()
    assert secrets_by_key(before.engine, before.seal.key_of) == {first: 2}
    assert not (Path(environment["RULEWARD_DATA"]) / "identity.key").exists()

    assert run("rotate") == 0
    said = capsys.readouterr().out
    assert "2 secrets of identity are sealed anew, 0 do not open" in said
    assert f"{first} is retired" in said
    made = keeper(environment).active()
    assert made != first
    assert secrets_by_key(before.engine, before.seal.key_of) == {made: 2}
    assert run("status") == 0
    rows = {line.split()[0]: line.split()[-1] for line in capsys.readouterr().out.splitlines()}
    assert (rows[first], rows[made]) == ("0", "2")

    # Another worker, with a key store that has lost the old key for good.
    after = worker(environment)
    held = after.seal._key

    def without_the_old(key_id: str) -> object:
        assert key_id != first, "something still needs the old key"
        return held(key_id)

    after.seal._key = without_the_old  # type: ignore[assignment, method-assign]
    after.identity.passwords._hasher = argon2.PasswordHasher(1, 8, 1)
    assert counts(after.identity, signed)
    assert counts(after.identity, token(after.identity, at))
    assert signed_in(after.identity.sign_in, "wang", password, key, at) == ""
    for one in (before, after):
        one.engine.dispose()


def test_what_identity_key_sealed_before_opens_and_moves_under_the_data_keys(
    environment: dict[str, str], run: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    data = Path(environment["RULEWARD_DATA"])
    settings = read_settings(environment, data / "rules")
    engine = open_database(settings.database_url, patience=5.0)
    upgrade(engine)
    at = dt.datetime.now(dt.UTC)
    old = Identity(
        settings.identity, engine, lambda: at, data, hasher=argon2.PasswordHasher(1, 8, 1),
        watch=log_happening, seal=FileSeal(data / "identity.key"),
    )  # fmt: skip
    enrolled(old, at, "li")
    signed = token(old, at)

    service = worker(environment)
    assert counts(service.identity, token(service.identity, at))  # opened by identity.key
    assert run("reseal") == 0
    assert "2 secrets of identity are sealed anew" in capsys.readouterr().out
    (data / "identity.key").unlink()
    again = worker(environment)
    assert counts(again.identity, signed)
    assert counts(again.identity, token(again.identity, at))
    assert secrets_by_key(engine, again.seal.key_of) == {again.seal.active(): 2}
    for one in (engine, service.engine, again.engine):
        one.dispose()


def test_a_secret_that_does_not_open_is_told_and_its_key_is_not_retired(
    environment: dict[str, str], run: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    service = worker(environment)
    token(service.identity, service.clock())
    first = service.seal.active()
    with service.engine.begin() as connection:
        connection.exec_driver_sql("UPDATE signing_key SET private = substr(private, 1, 20)")
    assert run("rotate") == 1
    said = capsys.readouterr().out
    assert "0 secrets of identity are sealed anew, 1 do not open" in said
    assert f"{first} is retired" not in said
    service.engine.dispose()


def test_a_secret_that_is_changed_meanwhile_stays_as_it_was_changed(environment: dict[str, str]) -> None:
    service = worker(environment)
    token(service.identity, service.clock())
    kept = KeptSeal(service.seal)

    class Meanwhile:
        """Another writes while we seal."""

        def seal(self, plain: bytes, context: str, /) -> bytes:
            with service.engine.begin() as connection:
                connection.exec_driver_sql("UPDATE signing_key SET private = x'00'")
            return kept.seal(plain, context)

        def open(self, sealed: bytes, context: str, /) -> bytes:
            return kept.open(sealed, context)

    assert reseal_secrets(service.engine, Meanwhile(), service.seal.key_of, "other") == Resealed(0, 0)
    with service.engine.connect() as connection:
        assert connection.exec_driver_sql("SELECT private FROM signing_key").scalar_one() == b"\x00"
    service.engine.dispose()
