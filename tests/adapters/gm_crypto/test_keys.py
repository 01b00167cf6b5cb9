"""Keys lie in a file that only its passphrase opens, change while others use them, and seal with their id."""

from __future__ import annotations

import json
import logging
import secrets
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

from adapters.gm_crypto.envelope import EnvelopeSeal
from adapters.gm_crypto.file_keys import FileKeyStore
from adapters.gm_crypto.keys import KeyRing, KeyStore, State, Use
from adapters.gm_crypto.provider import CryptoError, Provider
from adapters.gm_crypto.settings import in_demo_mode, open_keys, read
from adapters.gm_crypto.sm2_keys import public_from_pem

MakeStore = Callable[..., FileKeyStore]


def test_a_new_file_has_one_key_of_each_use_and_another_process_reads_the_same(
    key_store: MakeStore, tmp_path: Path
) -> None:
    ring = key_store().ring()
    assert {key.use for key in ring.keys} == set(Use)
    assert {key.state for key in ring.keys} == {State.ACTIVE}
    assert key_store().ring() == ring
    assert (tmp_path / "keys.json").stat().st_mode & 0o777 == 0o600


def test_no_key_lies_open_in_the_file_and_none_shows_in_its_text(
    key_store: MakeStore, tmp_path: Path
) -> None:
    ring = key_store().ring()
    stored = (tmp_path / "keys.json").read_bytes()
    for key in ring.keys:
        assert key.material not in stored
        assert repr(key.material) not in repr(ring)


def test_the_public_half_of_the_signing_key_is_readable_without_the_passphrase(
    key_store: MakeStore, provider: Provider, tmp_path: Path
) -> None:
    key = key_store().ring().active(Use.SIGN)
    kept = next(one for one in json.loads((tmp_path / "keys.json").read_text())["keys"] if one["public"])
    public = public_from_pem(kept["public"])
    assert provider.verify(public, b"release", provider.sign(key.material, b"release"))


def test_another_passphrase_an_altered_file_or_an_open_one_is_refused(
    key_store: MakeStore, tmp_path: Path
) -> None:
    key_store().ring()
    path = tmp_path / "keys.json"
    with pytest.raises(CryptoError, match="passphrase is not the file's"):
        key_store("another passphrase").ring()

    good = path.read_text()
    for old, new in (
        ('"state": "active"', '"state": "old"'),
        ('"use": "data"', '"use": "blind"'),
        ('"memory": 64', '"memory": 65'),
    ):
        assert old in good
        path.write_text(good.replace(old, new, 1))
        with pytest.raises(CryptoError, match="altered"):
            key_store().ring()
    for text, reason in (
        (good.replace('"memory": 64', '"memory": 99999999999'), "out of all reason"),
        (good[:-20], "no key file"),
        (good.replace("ruleward-keys/1", "ruleward-keys/9"), "another RuleWard"),
        (good.replace("soft", "other").replace("card-double", "other"), "of the provider other"),
    ):
        path.write_text(text)
        with pytest.raises(CryptoError, match=reason):
            key_store().ring()

    path.write_text(good)
    path.chmod(0o640)
    with pytest.raises(CryptoError, match="chmod 600"):
        key_store().ring()


def test_rotation_makes_a_new_active_key_and_the_old_one_stays(key_store: MakeStore) -> None:
    mine, theirs = key_store(), key_store()
    before = theirs.ring().active(Use.DATA)
    made = mine.rotate(Use.DATA)
    after = theirs.ring()
    assert after.active(Use.DATA) == made != before
    old = after.find(before.id)
    assert old is not None
    assert (old.state, old.material) == (State.OLD, before.material)
    assert [key.id for key in after.of(Use.DATA)] == [before.id, made.id]
    mine.retire(before.id)
    assert [key.state for key in theirs.ring().of(Use.DATA)] == [State.RETIRED, State.ACTIVE]
    with pytest.raises(CryptoError, match="active"):
        mine.retire(made.id)
    with pytest.raises(CryptoError, match="unknown"):
        mine.retire("00000000")
    with pytest.raises(CryptoError, match="cannot rotate"):
        mine.rotate(Use.BLIND)


def test_several_that_start_and_rotate_at_once_lose_no_key(key_store: MakeStore) -> None:
    stores = [key_store() for _ in range(6)]
    threads = [threading.Thread(target=store.rotate, args=(Use.DATA,)) for store in stores]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    keys = key_store().ring().of(Use.DATA)
    assert len(keys) == 7
    assert [key.state for key in keys].count(State.ACTIVE) == 1


def test_another_passphrase_opens_the_same_keys_and_the_first_none(key_store: MakeStore) -> None:
    store = key_store()
    ring = store.ring()
    store.change_passphrase("a better passphrase")
    assert store.ring() == ring == key_store("a better passphrase").ring()
    with pytest.raises(CryptoError):
        key_store().ring()


def test_a_value_opens_after_rotation_and_new_ones_carry_the_new_key(
    key_store: MakeStore, provider: Provider
) -> None:
    now = [0.0]
    seal = EnvelopeSeal(provider, key_store(), refresh=5.0, clock=lambda: now[0])
    first = seal.active()
    sealed = seal.seal(b"p-1", b"place", first)
    made = key_store().rotate(Use.DATA)
    assert seal.active() == first
    now[0] = 5.0
    assert seal.active() == made.id
    assert seal.open(sealed, b"place") == b"p-1"
    assert sealed[1:5].hex() == first


def test_a_value_under_a_key_that_was_made_elsewhere_opens_at_once(
    key_store: MakeStore, provider: Provider
) -> None:
    here = EnvelopeSeal(provider, key_store())
    made = key_store().rotate(Use.DATA)
    there = EnvelopeSeal(provider, key_store())
    assert here.open(there.seal(b"p-1", b"place", made.id), b"place") == b"p-1"


def test_what_was_not_sealed_here_does_not_open(key_store: MakeStore, provider: Provider) -> None:
    seal = EnvelopeSeal(provider, key_store())
    sealed = seal.seal(b"p-1", b"place", seal.active())
    blind_key = key_store().ring().active(Use.BLIND)
    for forged in (
        b"",
        b"\x01",
        b"\x03" + sealed[1:],
        b"\x01\0\0\0\0" + sealed[5:],
        b"\x01" + bytes.fromhex(blind_key.id) + sealed[5:],
        sealed[:-1],
    ):
        with pytest.raises(CryptoError):
            seal.open(forged, b"place")
    with pytest.raises(CryptoError):
        seal.open(sealed, b"another place")


@pytest.mark.parametrize("content", [b"", b"x" * 5000, secrets.token_bytes(5000), b"x" * 511])
def test_long_content_is_sealed_smaller_and_comes_back(
    key_store: MakeStore, provider: Provider, content: bytes
) -> None:
    seal = EnvelopeSeal(provider, key_store())
    sealed = seal.seal(content, b"place", seal.active())
    assert seal.open(sealed, b"place") == content
    assert len(sealed) <= len(content) + 33
    if content == b"x" * 5000:
        assert len(sealed) < 200
    other_form = bytes([3 - sealed[0]]) + sealed[1:]
    with pytest.raises(CryptoError):
        seal.open(other_form, b"place")


def test_the_blind_index_is_equal_for_equal_text_of_one_field(
    key_store: MakeStore, provider: Provider
) -> None:
    seal = EnvelopeSeal(provider, key_store())
    blind = seal.blind("p-1", "patient")
    key_store().rotate(Use.DATA)
    assert EnvelopeSeal(provider, key_store()).blind("p-1", "patient") == blind
    assert len({blind, seal.blind("p-2", "patient"), seal.blind("p-1", "phone")}) == 3


def test_a_key_store_that_fails_later_does_not_stop_those_who_seal(
    key_store: MakeStore, provider: Provider, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    now = [0.0]
    seal = EnvelopeSeal(provider, key_store(), clock=lambda: now[0])
    key = seal.active()
    (tmp_path / "keys.json").chmod(0o644)
    now[0] = 60.0
    assert seal.active() == key
    assert "stay in use" in caplog.text


def test_outside_demo_mode_there_is_no_start_without_a_good_passphrase(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="RULEWARD_KEY_PASSPHRASE_FILE"):
        read({}, tmp_path, demo=False)
    with pytest.raises(ValueError, match="at least 12"):
        read({"RULEWARD_KEY_PASSPHRASE": "short"}, tmp_path, demo=False)
    with pytest.raises(ValueError, match="cannot be read"):
        read({"RULEWARD_KEY_PASSPHRASE_FILE": str(tmp_path / "none")}, tmp_path, demo=False)
    (tmp_path / "empty").write_text("\n")
    with pytest.raises(ValueError, match="is empty"):
        read({"RULEWARD_KEY_PASSPHRASE_FILE": str(tmp_path / "empty")}, tmp_path, demo=False)
    assert in_demo_mode({})
    assert not in_demo_mode({"RULEWARD_MODE": "production"})
    assert in_demo_mode({"RULEWARD_MODE": "demo"})
    with pytest.raises(ValueError, match="neither demo nor production"):
        in_demo_mode({"RULEWARD_MODE": "test"})


def test_a_passphrase_from_a_file_opens_the_keys_and_never_shows(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("correct horse battery\n")
    settings = read({"RULEWARD_KEY_PASSPHRASE_FILE": str(tmp_path / "secret")}, tmp_path, demo=False)
    assert "correct horse" not in repr(settings)
    _, store = open_keys(settings)
    again = read({"RULEWARD_KEY_PASSPHRASE": "correct horse battery"}, tmp_path, demo=False)
    assert open_keys(again)[1].ring() == store.ring()
    assert not (tmp_path / "demo-passphrase").exists()


def test_a_demonstration_makes_its_passphrase_and_says_so_loudly(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    settings = read({}, tmp_path / "var", demo=True)
    ring = open_keys(settings)[1].ring()
    assert "DEMO MODE" in caplog.text
    assert caplog.records[0].levelno == logging.WARNING
    made = tmp_path / "var" / "demo-passphrase"
    assert made.stat().st_mode & 0o777 == 0o600
    assert made.read_text() not in caplog.text
    assert open_keys(settings)[1].ring() == ring
    made.unlink()
    with pytest.raises(CryptoError, match="without its passphrase"):
        open_keys(settings)


def test_a_sites_own_key_store_is_found_by_its_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, key_store: MakeStore
) -> None:
    class Kms:
        """Double of a key management system: it needs no passphrase of ours."""

        def __init__(self, _environment: object, _provider: Provider) -> None:
            self._inner = key_store()

        def ring(self) -> KeyRing:
            return self._inner.ring()

        def rotate(self, use: Use, /) -> object:
            return self._inner.rotate(use)

        def retire(self, key_id: str, /) -> None:
            self._inner.retire(key_id)

    module = ModuleType("site_kms")
    module.connect = Kms  # type: ignore[attr-defined]
    module.wrong = lambda *_: object()  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "site_kms", module)
    _, store = open_keys(read({"RULEWARD_KEY_STORE": "site_kms:connect"}, tmp_path, demo=False))
    assert isinstance(store, Kms)
    assert isinstance(store, KeyStore)
    assert store.ring() == key_store().ring()
    with pytest.raises(CryptoError, match="no key store"):
        open_keys(read({"RULEWARD_KEY_STORE": "site_kms:wrong"}, tmp_path, demo=False))
