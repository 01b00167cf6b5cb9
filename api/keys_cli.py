"""The verbs of ``ruleward keys``: what the key store holds, rotation, sealing anew, another passphrase."""

from __future__ import annotations

import argparse
import logging
import os
from pathlib import Path
from time import sleep

from adapters.gm_crypto.envelope import EnvelopeSeal
from adapters.gm_crypto.file_keys import FileKeyStore
from adapters.gm_crypto.keys import KeyStore, State, Use
from adapters.gm_crypto.provider import CryptoError
from adapters.gm_crypto.settings import in_demo_mode, open_keys, read
from adapters.store.database import open_database
from adapters.store.resealing import compact, reseal, rows_by_key
from adapters.store.resealing_secrets import reseal_secrets, secrets_by_key
from api.settings import Settings, read_settings

__all__ = ["add_verbs"]

_PASSES = 5


def add_verbs(verbs: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add ``keys`` and what belongs to it."""
    keys = verbs.add_parser("keys", help="the keys under which stored data lies").add_subparsers(
        required=True
    )
    keys.add_parser("status", help="list the keys and how many rows are under each").set_defaults(run=_status)
    rotate = keys.add_parser("rotate", help="make a new active key; for data, seal all rows anew under it")
    rotate.add_argument("--use", type=Use, choices=(Use.DATA, Use.SIGN), default=Use.DATA)
    rotate.set_defaults(run=_rotate)
    again = keys.add_parser("reseal", help="seal what is not under the active key: goes on after a break")
    again.add_argument(
        "--compact", action="store_true", help="then write the tables anew: no page keeps what was not sealed"
    )
    again.set_defaults(run=_reseal)
    passphrase = keys.add_parser("passphrase", help="protect the key file by another passphrase")
    passphrase.add_argument("file", type=Path, help="a file that holds the new one")
    passphrase.set_defaults(run=_passphrase)


def _opened() -> tuple[Settings, EnvelopeSeal, KeyStore]:
    from rules import FOLDER

    logging.basicConfig(format="%(levelname)s %(message)s")
    settings = read_settings(os.environ, FOLDER)
    provider, store = open_keys(read(os.environ, settings.data, demo=in_demo_mode(os.environ)))
    return settings, EnvelopeSeal(provider, store), store


def _status(_options: argparse.Namespace) -> int:
    settings, seal, store = _opened()
    engine = open_database(settings.database_url, patience=settings.patience)
    rows, secrets = rows_by_key(engine), secrets_by_key(engine, seal.key_of)
    print(f"{'key':10}{'use':7}{'state':9}{'made':22}{'rows':10}secrets")
    for key in sorted(store.ring().keys, key=lambda key: (key.use, key.made_at)):
        data = key.use is Use.DATA
        count = f"{rows.pop(key.id, 0):<10}{secrets.pop(key.id, 0)}" if data else ""
        print(f"{key.id:10}{key.use:7}{key.state:9}{key.made_at:%Y-%m-%d %H:%M:%S}   {count}".rstrip())
    open_rows = rows.pop("", 0)
    if open_rows:
        print(f"{open_rows} rows are not sealed. Write: ruleward keys reseal --compact")
    elsewhere = secrets.pop("", 0)
    if elsewhere:
        print(f"{elsewhere} secrets of identity are under identity.key. Write: ruleward keys reseal")
    for what, counts in (("rows", rows), ("secrets of identity", secrets)):
        for key_id, number in counts.items():
            print(f"{number} {what} are under the key {key_id}, which is not in the key store.")
    return 1 if rows or secrets else 0


def _rotate(options: argparse.Namespace) -> int:
    settings, seal, store = _opened()
    made = store.rotate(options.use)
    print(f"{made.id} is the active key for {made.use}")
    if options.use is not Use.DATA:
        return 0
    # A worker may seal under the key before for so long; its rows would be left behind.
    sleep(seal.refresh + settings.patience)
    return _seal_anew(*_opened())


def _reseal(options: argparse.Namespace) -> int:
    settings, seal, store = _opened()
    code = _seal_anew(settings, seal, store)
    if options.compact:
        compact(open_database(settings.database_url, patience=settings.patience))
        print("the tables are written anew")
    return code


def _seal_anew(settings: Settings, seal: EnvelopeSeal, store: KeyStore) -> int:
    """Bring all rows under the active key, then retire the keys that nothing is under."""
    from api.identity import kept_seal

    engine = open_database(settings.database_url, patience=settings.patience)
    kept = kept_seal(settings.identity, settings.data, seal)
    left = {"any"}
    passes = 0
    while left and passes < _PASSES:
        passes += 1
        done = reseal(engine, seal)
        print(f"{done.rows} rows are sealed anew, {done.refused} do not open")
        secrets = reseal_secrets(engine, kept, seal.key_of, seal.active())
        print(f"{secrets.rows} secrets of identity are sealed anew, {secrets.refused} do not open")
        left = {*rows_by_key(engine), *secrets_by_key(engine, seal.key_of)} - {seal.active()}
        if done.refused or secrets.refused:
            break
    for key in store.ring().of(Use.DATA):
        if key.state is State.OLD and key.id not in left:
            store.retire(key.id)
            print(f"{key.id} is retired; keep it as long as backups from its time are kept")
    return 1 if left else 0


def _passphrase(options: argparse.Namespace) -> int:
    _, _, store = _opened()
    if not isinstance(store, FileKeyStore):
        raise CryptoError("Only the key file has a passphrase; this key store is another.")
    new = options.file.read_text().rstrip("\r\n")
    if not new:
        raise CryptoError(f"{options.file} is empty.")
    store.change_passphrase(new)
    print("the key file is under the new passphrase; set RULEWARD_KEY_PASSPHRASE_FILE before the next start")
    return 0
