"""The first administrators come from the prompt, and so does the way back in."""

from __future__ import annotations

import argparse
from pathlib import Path

import pytest

from adapters.gm_crypto.envelope import EnvelopeSeal
from adapters.gm_crypto.file_keys import FileKeyStore
from adapters.gm_crypto.provider import CryptoError
from adapters.gm_crypto.soft import SoftProvider
from adapters.identity.passwords import Passwords
from adapters.identity.seal import KeptSeal
from adapters.store.accounts import StoredIdentity
from adapters.store.database import open_database
from api.accounts_cli import add_verbs


def run(*words: str) -> int:
    parser = argparse.ArgumentParser()
    add_verbs(parser.add_subparsers())
    options = parser.parse_args(["accounts", *words])
    code: int = options.run(options)
    return code


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("RULEWARD_DATA", str(tmp_path))
    monkeypatch.delenv("RULEWARD_MODE", raising=False)
    return tmp_path


def stored(folder: Path) -> StoredIdentity:
    return StoredIdentity(open_database(f"sqlite:///{folder}/ruleward.db", patience=5.0))


ADD = ("add", "zhang", "--title", "张", "--staff-number", "1", "--role")


def test_the_first_security_administrator_is_added_and_reset(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(*ADD, "security_administrator") == 0
    first = capsys.readouterr().out.split()[-1]
    store = stored(folder)
    account = store.by_name("zhang")
    assert account is not None
    assert account.must_change_password
    assert Passwords().fits(account.password_hash, first)
    for _ in range(6):
        store.count_attempt(account.id, account.password_changed_at)
    assert run("reset", "zhang") == 0
    second = capsys.readouterr().out.split()[-1]
    fresh = store.by_name("zhang")
    assert fresh is not None
    assert (fresh.failures, fresh.locked_until, second == first) == (0, None, False)
    assert run("list") == 0
    assert "security_administrator" in capsys.readouterr().out


def test_the_prompt_makes_no_account_that_cannot_be(folder: Path) -> None:
    with pytest.raises(ValueError, match="watch one another"):
        run(*ADD, "security_administrator", "--role", "auditor")
    with pytest.raises(ValueError, match="no account"):
        run("reset", "nobody")


def test_secrets_of_identity_can_lie_under_the_keys_of_the_site(tmp_path: Path) -> None:
    provider = SoftProvider()
    keeper = EnvelopeSeal(provider, FileKeyStore(tmp_path / "keys.json", "a long passphrase", provider))
    seal = KeptSeal(keeper)
    sealed = seal.seal(b"secret", "totp a")
    assert b"secret" not in sealed
    assert seal.open(sealed, "totp a") == b"secret"
    with pytest.raises(CryptoError):
        seal.open(sealed, "totp b")
