"""The verbs of ``ruleward accounts``: the first administrators, and the way back in when none can sign in.

Whoever has the prompt has the database as well, so nothing is asked here; all else is for ``/accounts``.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from engine.access import Role

if TYPE_CHECKING:  # what these bring takes seconds, and other verbs need none of it
    from adapters.store.accounts import StoredIdentity
    from api.settings import Settings

__all__ = ["add_verbs"]

_PROMPT = "prompt"


def add_verbs(verbs: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add ``accounts`` and what belongs to it."""
    accounts = verbs.add_parser("accounts", help="who may sign in at the embedded provider").add_subparsers(
        required=True
    )
    accounts.add_parser("list", help="list the accounts").set_defaults(run=_list)
    add = accounts.add_parser("add", help="add an account; prints its first password")
    add.add_argument("name")
    add.add_argument("--title", required=True, help="how the person is called")
    add.add_argument("--staff-number", required=True)
    add.add_argument("--role", type=Role, choices=list(Role), action="append", required=True)
    add.add_argument("--department", action="append", default=[])
    add.set_defaults(run=_add)
    reset = accounts.add_parser("reset", help="unlock, forget the second factor, print a new first password")
    reset.add_argument("name")
    reset.set_defaults(run=_reset)


@contextmanager
def _opened() -> Iterator[tuple[Settings, StoredIdentity]]:
    from adapters.store.accounts import StoredIdentity
    from adapters.store.database import open_database, upgrade
    from api.settings import read_settings
    from rules import FOLDER

    settings = read_settings(os.environ, FOLDER)
    engine = open_database(settings.database_url, patience=settings.patience)
    try:
        upgrade(engine)
        yield settings, StoredIdentity(engine)
    finally:
        engine.dispose()


def _list(_options: argparse.Namespace) -> int:
    with _opened() as (_, store):
        for account in store.all():
            state = "disabled" if account.disabled else "demo" if account.demo else "active"
            print(f"{account.name:24} {state:9} {' '.join(account.roles)}")
    return 0


def _add(options: argparse.Namespace) -> int:
    from adapters.identity.passwords import Passwords
    from api.accounts import NewAccount, account_of
    from api.identity import log_happening
    from api.wire import clock_in
    from engine.identity import Happening

    with _opened() as (settings, store):
        wanted = NewAccount(
            name=options.name,
            title=options.title,
            staff_number=options.staff_number,
            roles=tuple(dict.fromkeys(options.role)),
            site=settings.identity.site,
            departments=tuple(options.department),
        )
        account, password = account_of(wanted, Passwords(), clock_in(settings.zone)())
        store.add(account)
        detail = " ".join(account.roles)
        log_happening(
            Happening(kind="account", result="added", subject=account.id, by=_PROMPT, detail=detail)
        )
        print(f"{account.name}: first password {password}")
    return 0


def _reset(options: argparse.Namespace) -> int:
    from adapters.identity.passwords import Passwords
    from api.accounts import first_password
    from api.identity import log_happening
    from api.wire import clock_in
    from engine.identity import Happening

    with _opened() as (settings, store):
        account = store.by_name(options.name)
        if account is None:
            raise ValueError(f"{options.name} is no account. `ruleward accounts list` names them.")
        password = first_password()
        store.change(
            account.id,
            password_hash=Passwords().hash(password),
            must_change_password=True,
            failures=0,
            locked_until=None,
            totp_secret=None,
        )
        store.drop_passkeys(account.id)
        store.end_sessions_of(account.id)
        store.revoke_families_of(clock_in(settings.zone)(), account=account.id)
        log_happening(Happening(kind="account", result="reset", subject=account.id, by=_PROMPT))
        print(f"{account.name}: first password {password}")
    return 0
