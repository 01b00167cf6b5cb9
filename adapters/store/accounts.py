"""Keep accounts, clients, sessions, tokens and emergency access in the one database."""

from __future__ import annotations

import datetime as dt
from typing import Any, Final, TypeVar

import msgspec
import sqlalchemy as sa
from sqlalchemy.engine import Connection, Engine

from adapters.store import identity_tables as tables
from adapters.store.database import writing
from engine.access import ADMINISTRATORS, Role, role_faults
from engine.identity import (
    Account,
    Client,
    Code,
    Family,
    Glass,
    Passkey,
    Refresh,
    Session,
    SigningKey,
)

__all__ = ["StoredIdentity", "lock_after"]

T = TypeVar("T", bound=msgspec.Struct)
_LOCK_AFTER: Final = 5
_FIRST_LOCK: Final = dt.timedelta(minutes=1)
_LONGEST_LOCK: Final = dt.timedelta(hours=1)
_ACCESS_LIVES: Final = dt.timedelta(minutes=20)  # longer than any access token and its clock skew


def _row(value: msgspec.Struct, *without: str) -> dict[str, Any]:
    told = msgspec.structs.asdict(value)
    return {
        name: msgspec.json.encode(one).decode() if isinstance(one, tuple) else one
        for name, one in told.items()
        if name not in without
    }


def _read(kind: type[T], row: sa.Row[Any], **more: object) -> T:
    values: dict[str, Any] = {**more}
    for field in msgspec.structs.fields(kind):
        if field.name in values:
            continue
        value = getattr(row, field.name)
        if isinstance(value, str) and getattr(field.type, "__origin__", None) is tuple:
            value = tuple(msgspec.json.decode(value))
        values[field.name] = value
    return kind(**values)


def _kind(roles: tuple[Role, ...]) -> str:
    return "administrator" if ADMINISTRATORS & set(roles) else "person"


def lock_after(failures: int) -> dt.timedelta | None:
    """Return for how long so many failures in a row lock an account: from five on, doubling up to an hour."""
    if failures < _LOCK_AFTER:
        return None
    return min(_LONGEST_LOCK, _FIRST_LOCK * int(2 ** min(failures - _LOCK_AFTER, 10)))


class StoredIdentity:
    """The stores of :mod:`engine.identity` over one database; every method is one transaction."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    # Accounts

    def add(self, account: Account) -> None:
        """Add an account; raises ``ValueError`` when its name, its staff number or its roles cannot be."""
        faults = role_faults(account.roles)
        if faults:
            raise ValueError(" ".join(faults))
        try:
            with writing(self._engine) as connection:
                row = _row(account, "roles") | {"kind": _kind(account.roles)}
                connection.execute(sa.insert(tables.account).values(row))
                self._put_roles(connection, account.id, account.roles)
        except sa.exc.IntegrityError:
            raise ValueError("The name or the staff number belongs to another account.") from None

    def change(self, account_id: str, /, **values: object) -> None:
        """Change columns, or ``roles``; raises ``ValueError`` for roles that cannot be one account."""
        roles = values.pop("roles", None)
        if isinstance(roles, tuple):
            faults = role_faults(roles)
            if faults:
                raise ValueError(" ".join(faults))
        told = {
            name: msgspec.json.encode(one).decode() if isinstance(one, tuple) else one
            for name, one in values.items()
        }
        with writing(self._engine) as connection:
            if isinstance(roles, tuple):
                connection.execute(
                    sa.delete(tables.account_role).where(tables.account_role.c.account == account_id)
                )
                told["kind"] = _kind(roles)
            if told:
                connection.execute(
                    sa.update(tables.account).where(tables.account.c.id == account_id).values(told)
                )
            if isinstance(roles, tuple):
                self._put_roles(connection, account_id, roles)

    @staticmethod
    def _put_roles(connection: Connection, account_id: str, roles: tuple[Role, ...]) -> None:
        if roles:
            kind = _kind(roles)
            rows = [{"account": account_id, "role": str(role), "kind": kind} for role in roles]
            connection.execute(sa.insert(tables.account_role), rows)

    def by_id(self, account_id: str) -> Account | None:
        """Return the account."""
        return self._one(tables.account.c.id == account_id)

    def by_name(self, name: str) -> Account | None:
        """Return the account with this name."""
        return self._one(tables.account.c.name == name)

    def all(self) -> tuple[Account, ...]:
        """Return all accounts, by name."""
        return self._accounts(sa.true())

    def _one(self, where: sa.ColumnElement[bool]) -> Account | None:
        return next(iter(self._accounts(where)), None)

    def _accounts(self, where: sa.ColumnElement[bool]) -> tuple[Account, ...]:
        with self._engine.connect() as connection:
            rows = connection.execute(
                sa.select(tables.account).where(where).order_by(tables.account.c.name)
            ).all()
            ids = [row.id for row in rows]
            held: dict[str, list[Role]] = {}
            for one in connection.execute(
                sa.select(tables.account_role)
                .where(tables.account_role.c.account.in_(ids))
                .order_by(tables.account_role.c.role)
            ):
                held.setdefault(one.account, []).append(Role(one.role))
        return tuple(_read(Account, row, roles=tuple(held.get(row.id, ()))) for row in rows)

    def count_attempt(self, account_id: str, at: dt.datetime) -> int | None:
        """Count an attempt before it is judged, so that many at once cannot slip past the lock."""
        accounts = tables.account.c
        open_ = sa.or_(accounts.locked_until.is_(None), accounts.locked_until <= at)
        with writing(self._engine) as connection:
            failures = connection.execute(
                sa.update(tables.account)
                .where(accounts.id == account_id, open_)
                .values(failures=accounts.failures + 1)
                .returning(accounts.failures)
            ).scalar()
            if failures is None:
                return None
            lock = lock_after(failures)
            if lock is not None:
                connection.execute(
                    sa.update(tables.account).where(accounts.id == account_id).values(locked_until=at + lock)
                )
        return int(failures)

    def take_step(self, account_id: str, step: int) -> bool:
        """Use up a TOTP time step."""
        accounts = tables.account.c
        with writing(self._engine) as connection:
            done = connection.execute(
                sa.update(tables.account)
                .where(accounts.id == account_id, accounts.totp_step < step)
                .values(totp_step=step)
            )
            return done.rowcount == 1

    def add_passkey(self, passkey: Passkey) -> None:
        """Add a WebAuthn credential."""
        self._insert(tables.passkey, passkey)

    def passkeys(self, account_id: str) -> tuple[Passkey, ...]:
        """Return the account's WebAuthn credentials."""
        return self._select(Passkey, tables.passkey, tables.passkey.c.account == account_id)

    def use_passkey(self, passkey_id: bytes, sign_count: int) -> None:
        """Keep the credential's new counter."""
        self._update(tables.passkey, tables.passkey.c.id == passkey_id, sign_count=sign_count)

    def drop_passkeys(self, account_id: str) -> None:
        """Forget the account's WebAuthn credentials."""
        with writing(self._engine) as connection:
            connection.execute(sa.delete(tables.passkey).where(tables.passkey.c.account == account_id))

    # Clients

    def put_client(self, client: Client) -> None:
        """Add a client, or replace it."""
        with writing(self._engine) as connection:
            connection.execute(sa.delete(tables.oauth_client).where(tables.oauth_client.c.id == client.id))
            connection.execute(sa.insert(tables.oauth_client).values(_row(client)))

    def client(self, client_id: str) -> Client | None:
        """Return the client."""
        found = self._select(Client, tables.oauth_client, tables.oauth_client.c.id == client_id)
        return next(iter(found), None)

    def clients(self) -> tuple[Client, ...]:
        """Return all clients."""
        return self._select(Client, tables.oauth_client, sa.true())

    # Sessions

    def start_session(self, session: Session) -> None:
        """Keep a new session."""
        self._insert(tables.sign_in_session, session)

    def session(self, session_id: str) -> Session | None:
        """Return the session, ended or not."""
        where = tables.sign_in_session.c.id == session_id
        return next(iter(self._select(Session, tables.sign_in_session, where)), None)

    def change_session(self, session_id: str, /, **values: object) -> None:
        """Change columns of a session."""
        self._update(tables.sign_in_session, tables.sign_in_session.c.id == session_id, **values)

    def take_challenge(self, session_id: str) -> bytes | None:
        """Return the challenge and forget it."""
        sessions = tables.sign_in_session
        with writing(self._engine) as connection:
            found = connection.execute(
                sa.select(sessions.c.challenge).where(sessions.c.id == session_id).with_for_update()
            ).scalar()
            connection.execute(sa.update(sessions).where(sessions.c.id == session_id).values(challenge=None))
        return None if found is None else bytes(found)

    def end_sessions_of(self, account_id: str) -> None:
        """End every session of an account."""
        self._update(tables.sign_in_session, tables.sign_in_session.c.account == account_id, ended=True)

    # Tokens

    def add_family(self, family: Family) -> None:
        """Keep a new family."""
        self._insert(tables.token_family, family)

    def family(self, family_id: str) -> Family | None:
        """Return the family, revoked or not."""
        where = tables.token_family.c.id == family_id
        return next(iter(self._select(Family, tables.token_family, where)), None)

    def add_code(self, code: Code) -> None:
        """Keep a new authorization code."""
        self._insert(tables.authorization_code, code)

    def take_code(self, code_id: str) -> tuple[Code, bool] | None:
        """Use the code up; returns it and whether this was its first use."""
        codes = tables.authorization_code
        first = self._use(codes, code_id)
        found = self._select(Code, codes, codes.c.id == code_id)
        return (found[0], first) if found else None

    def add_refresh(self, refresh: Refresh) -> None:
        """Keep a new refresh token."""
        self._insert(tables.refresh_token, refresh)

    def refresh(self, refresh_id: str) -> Refresh | None:
        """Return the refresh token, used or not."""
        where = tables.refresh_token.c.id == refresh_id
        return next(iter(self._select(Refresh, tables.refresh_token, where)), None)

    def take_refresh(self, refresh_id: str) -> bool:
        """Use the token up; false when it was used before."""
        return self._use(tables.refresh_token, refresh_id)

    def _use(self, table: sa.Table, row_id: str) -> bool:
        with writing(self._engine) as connection:
            done = connection.execute(
                sa.update(table).where(table.c.id == row_id, table.c.used.is_(False)).values(used=True)
            )
            return done.rowcount == 1

    def revoke_family(self, family_id: str, at: dt.datetime) -> None:
        """End all tokens of a family."""
        families = tables.token_family.c
        self._update(
            tables.token_family,
            sa.and_(families.id == family_id, families.revoked_at.is_(None)),
            revoked_at=at,
        )

    def revoke_families_of(self, at: dt.datetime, *, account: str = "", session: str = "") -> None:
        """End all tokens of an account or of a session."""
        families = tables.token_family.c
        whose = families.account == account if account else families.session == session
        if account or session:
            self._update(tables.token_family, sa.and_(whose, families.revoked_at.is_(None)), revoked_at=at)

    def revoke_token(self, token_id: str, until: dt.datetime) -> None:
        """End one access token."""
        self._insert_once(tables.revoked_token, {"id": token_id, "until": until})

    def revoked(self, at: dt.datetime) -> frozenset[str]:
        """Return what was revoked and could still be alive."""
        families, tokens = tables.token_family.c, tables.revoked_token.c
        with self._engine.connect() as connection:
            ended = connection.execute(sa.select(families.id).where(families.revoked_at > at - _ACCESS_LIVES))
            alone = connection.execute(sa.select(tokens.id).where(tokens.until > at))
            return frozenset([*ended.scalars(), *alone.scalars()])

    def first_use(self, digest: str, until: dt.datetime) -> bool:
        """Write a ``jti`` down; false when it stood there before."""
        return self._insert_once(tables.seen_token, {"id": digest, "until": until})

    def put_key(self, key: SigningKey) -> None:
        """Keep a signing key."""
        self._insert(tables.signing_key, key)

    def keys(self, at: dt.datetime) -> tuple[SigningKey, ...]:
        """Return the keys still shown, the newest first."""
        found = self._select(SigningKey, tables.signing_key, tables.signing_key.c.shown_until > at)
        return tuple(sorted(found, key=lambda key: key.signs_from, reverse=True))

    def forget(self, at: dt.datetime) -> None:
        """Delete what has expired."""
        with writing(self._engine) as connection:
            for table in (tables.seen_token, tables.revoked_token):
                connection.execute(sa.delete(table).where(table.c.until < at))
            # A used token must be known as long as its family lives: its second use gives a thief away.
            for table in (tables.authorization_code, tables.refresh_token, tables.token_family):
                connection.execute(sa.delete(table).where(table.c.expires_at < at - dt.timedelta(days=1)))
            connection.execute(sa.delete(tables.signing_key).where(tables.signing_key.c.shown_until < at))

    # Emergency access

    def break_glass(self, glass: Glass) -> None:
        """Keep a new emergency access."""
        self._insert(tables.glass, glass)

    def glass(self, glass_id: str) -> Glass | None:
        """Return one."""
        return next(iter(self._select(Glass, tables.glass, tables.glass.c.id == glass_id)), None)

    def standing_glass(self, account_id: str, at: dt.datetime) -> dt.datetime | None:
        """Return until when the account has emergency access."""
        found = self._select(
            Glass, tables.glass, sa.and_(tables.glass.c.account == account_id, tables.glass.c.until > at)
        )
        return max((one.until for one in found), default=None)

    def all_glass(self) -> tuple[Glass, ...]:
        """Return all, the newest first."""
        found = self._select(Glass, tables.glass, sa.true())
        return tuple(sorted(found, key=lambda one: one.began_at, reverse=True))

    def review_glass(self, glass_id: str, by: str, verdict: str, at: dt.datetime) -> bool:
        """Write a review down, once, by somebody else."""
        glasses = tables.glass.c
        with writing(self._engine) as connection:
            done = connection.execute(
                sa.update(tables.glass)
                .where(glasses.id == glass_id, glasses.reviewed_by == "", glasses.account != by)
                .values(reviewed_by=by, verdict=verdict, reviewed_at=at)
            )
            return done.rowcount == 1

    # How it is done

    def _insert(self, table: sa.Table, value: msgspec.Struct) -> None:
        with writing(self._engine) as connection:
            connection.execute(sa.insert(table).values(_row(value)))

    def _insert_once(self, table: sa.Table, values: dict[str, object]) -> bool:
        try:
            with writing(self._engine) as connection:
                connection.execute(sa.insert(table).values(values))
        except sa.exc.IntegrityError:
            return False
        return True

    def _update(self, table: sa.Table, where: sa.ColumnElement[bool], **values: object) -> None:
        told = {
            name: msgspec.json.encode(one).decode() if isinstance(one, tuple) else one
            for name, one in values.items()
        }
        with writing(self._engine) as connection:
            connection.execute(sa.update(table).where(where).values(told))

    def _select(self, kind: type[T], table: sa.Table, where: sa.ColumnElement[bool]) -> tuple[T, ...]:
        with self._engine.connect() as connection:
            return tuple(_read(kind, row) for row in connection.execute(sa.select(table).where(where)))
