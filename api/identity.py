"""Join identity: the store, the embedded provider, the verifier of tokens, the doorkeeper of the routes."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Final

import argon2
import sqlalchemy as sa
from fastapi import APIRouter, FastAPI

from adapters.identity.embedded import Provider, new_secret
from adapters.identity.key_ring import KeyRing
from adapters.identity.keys import Fetch, KeySet, RemoteKeys, discover, fetch_json, read_keys
from adapters.identity.passwords import Passwords
from adapters.identity.replay import Replays
from adapters.identity.seal import FileSeal, Keeper, KeptSeal
from adapters.identity.settings import CdsTrust, OidcTrust, Settings
from adapters.identity.sign_in import SignIn
from adapters.identity.tokens import AccessTokens, CdsClient, CdsTokens, FindsKey, Issuer
from adapters.store.accounts import StoredIdentity
from api import accounts, sign_in
from api.access import Access, Revocations, install
from api.accounts import NewAccount, account_of
from api.auditing import event_of
from engine.access import SCOPES, Role
from engine.audit import Event
from engine.errors import NotRecorded
from engine.identity import Client, Happening, Seal, Watch
from engine.ports import Clock

__all__ = [
    "AuditWatch",
    "Identity",
    "build_identity",
    "kept_seal",
    "log_happening",
    "make_demo_accounts",
    "make_editor_client",
    "prepare",
]

_LOG: Final = logging.getLogger("ruleward.identity")
DEMO_CLIENT: Final = "demo-his"
EDITOR: Final = "ruleset-editor"


def log_happening(happening: Happening) -> None:
    """Write a happening to the log: ids only; the audit takes its place where there is one."""
    _LOG.info(
        "%s %s subject=%s by=%s %s",
        happening.kind, happening.result, happening.subject, happening.by, happening.detail,
    )  # fmt: skip


class AuditWatch:
    """Bring what happens in identity to the audit log, from whatever thread it happens in.

    The answer does not wait for it; what cannot be recorded is an error in the log of the service.
    """

    def __init__(self, record: Callable[[Event], Awaitable[None]], clock: Clock) -> None:
        self._record, self._clock = record, clock
        self._loop: asyncio.AbstractEventLoop | None = None

    def attach(self, loop: asyncio.AbstractEventLoop) -> None:
        """Record on this loop from now on."""
        self._loop = loop

    def __call__(self, happening: Happening) -> None:
        """Take note of what happened."""
        log_happening(happening)
        if self._loop is not None and not self._loop.is_closed():
            asyncio.run_coroutine_threadsafe(self._keep(event_of(happening, self._clock())), self._loop)

    async def _keep(self, event: Event) -> None:
        try:
            await self._record(event)
        except NotRecorded as error:
            _LOG.error("an audit event of identity is not recorded: %s", error)


def kept_seal(settings: Settings, data: Path, keeper: Keeper) -> KeptSeal:
    """Return what seals identity's secrets under the data keys.

    Where there is an ``identity.key`` of before, what it sealed opens until ``ruleward keys reseal``.
    """
    before = settings.seal_key or data / "identity.key"
    return KeptSeal(keeper, FileSeal(before) if before.exists() else None)


class Identity:
    """What one worker knows of identity."""

    def __init__(
        self,
        settings: Settings,
        engine: sa.Engine,
        clock: Clock,
        data: Path,
        *,
        watch: Watch = log_happening,
        seal: Seal | None = None,
        fetch: Fetch = fetch_json,
        hasher: argon2.PasswordHasher | None = None,
    ) -> None:
        """``fetch`` gets the keys of those whose tokens are trusted."""
        self.settings = settings
        self.store = StoredIdentity(engine)
        self.passwords = Passwords(hasher)
        keeper = seal or FileSeal(settings.seal_key or data / "identity.key")
        self.keys = KeyRing(self.store, keeper, clock)
        base_url = settings.base_url
        self.sign_in = SignIn(
            self.store, self.passwords, keeper, clock, watch, base_url=base_url, strict=settings.production
        )
        self.provider = Provider(self.store, self.keys, self.passwords, clock, watch, base_url=base_url)
        self.revocations = Revocations(self.store.revoked, clock)
        issuers = [self.provider.as_issuer(), *([_issuer(settings.oidc, fetch)] if settings.oidc else [])]
        self.tokens = AccessTokens(issuers, clock, self.revocations)
        cds = CdsTokens([_cds_client(one, fetch) for one in settings.cds_clients], Replays(self.store), clock)
        self.access = Access(
            self.tokens,
            cds,
            self.revocations,
            self.store,
            clock,
            watch,
            enforced=settings.production,
            base_url=base_url,
        )
        self._watch = watch

    def routers(self) -> tuple[APIRouter, ...]:
        """Return the routes of identity."""
        changed = self.revocations.changed
        return (
            sign_in.router(self.sign_in, self.provider, changed),
            accounts.router(self.provider, self.store, self.passwords, self._watch, changed),
        )

    def install(self, app: FastAPI) -> None:
        """Give an application its doorkeeper and the routes of identity."""
        install(app, self.access)
        for routes in self.routers():
            app.include_router(routes)

    async def keep_house(self) -> None:
        """Delete what has expired, once an hour, until cancelled."""
        while True:
            await asyncio.sleep(3600.0)
            try:
                await asyncio.to_thread(self.store.forget, self.provider.now())
            except sa.exc.SQLAlchemyError as error:
                _LOG.warning("expired tokens stay for another hour: %s", type(error).__name__)


def build_identity(settings: Settings, engine: sa.Engine, clock: Clock, data: Path) -> Identity:
    """Return a worker's identity; nothing is connected and no file is read yet."""
    return Identity(settings, engine, clock, data)


def _issuer(trust: OidcTrust, fetch: Fetch) -> Issuer:
    async def address() -> str:
        return trust.jwks or await discover(trust.issuer, fetch)

    return Issuer(
        name=trust.issuer,
        audience=trust.audience,
        keys=RemoteKeys(address, fetch=fetch),
        algorithms=trust.algorithms,
        kinds=frozenset({"jwt", "at+jwt"}),
        roles_claim=trust.roles_claim,
        roles=trust.roles,
        site=trust.site,
        strong_acr=trust.strong_acr,
    )


def _cds_client(trust: CdsTrust, fetch: Fetch) -> CdsClient:
    async def address() -> str:
        return trust.jku

    keys: FindsKey = KeySet(read_keys(trust.jwks)) if trust.jwks else RemoteKeys(address, fetch=fetch)
    return CdsClient(
        issuer=trust.iss, keys=keys, jku=trust.jku, site=trust.site, departments=frozenset(trust.departments)
    )


def make_demo_accounts(identity: Identity, clock: Clock) -> tuple[str, ...]:
    """Make an account of each role with a new random password; returns lines for the terminal.

    Refuses in production. Accounts of an earlier demo get new passwords; an account that is no demo account
    is never touched.
    """
    settings, store = identity.settings, identity.store
    if settings.production:
        raise ValueError("Demo accounts are never made in production.")
    lines = ["DEMO MODE: every call is answered; not for patients. Accounts of this start:"]
    for role in Role:
        if role is Role.SERVICE:
            continue
        wanted = NewAccount(
            name=str(role),
            title=f"Demo {role.replace('_', ' ')}",
            staff_number=f"demo-{role}",
            roles=(role,),
            site=settings.site,
            departments=("demo",),
        )
        account, password = account_of(wanted, identity.passwords, clock(), demo=True)
        known = store.by_name(account.name)
        if known is None:
            store.add(account)
        elif known.demo:
            store.change(
                known.id,
                password_hash=account.password_hash,
                password_changed_at=account.password_changed_at,
                failures=0,
                locked_until=None,
                roles=(role,),
            )
        else:
            continue
        lines.append(f"  {role:24} {password}")
    secret, digest = new_secret()
    store.put_client(
        Client(
            id=DEMO_CLIENT,
            title="Demo hospital system",
            kind="service",
            secret_hash=digest,
            scopes=tuple(sorted(SCOPES)),
            site=settings.site,
        )
    )
    lines.append(f"  an adapter's account {DEMO_CLIENT}: {secret}")
    lines.append(f"  sign in at {settings.base_url}/sign-in")
    return tuple(lines)


def prepare(settings: Settings, engine: sa.Engine, clock: Clock, data: Path) -> tuple[str, ...]:
    """See to what identity needs before the first request; returns lines for the terminal.

    Raises ``sqlalchemy.exc.SQLAlchemyError`` while the database is away.
    """
    # A demo's passwords are random, so that a cheap hash will do, and the start is quick.
    cheap = argon2.PasswordHasher(time_cost=1, memory_cost=1024, parallelism=1)
    identity = Identity(settings, engine, clock, data, hasher=None if settings.production else cheap)
    make_editor_client(identity)
    return () if settings.production else make_demo_accounts(identity, clock)


def make_editor_client(identity: Identity) -> None:
    """Register the editor as a public client of the embedded provider."""
    base = identity.settings.base_url
    identity.store.put_client(
        Client(
            id=EDITOR,
            title="Ruleset editor",
            kind="public",
            redirect_uris=(f"{base}/editor/callback",),
            logout_uris=(f"{base}/editor/",),
        )
    )
