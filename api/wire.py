"""Build everything and join it: the only place where adapters meet ports. Read this file first."""

from __future__ import annotations

import asyncio
import datetime as dt
import time
from zoneinfo import ZoneInfo

import sqlalchemy as sa

from adapters.gm_crypto.envelope import EnvelopeSeal
from adapters.gm_crypto.settings import open_keys
from adapters.gm_crypto.sm3 import sm3
from adapters.identity.keys import fetching
from adapters.releases.announcer import Bell
from adapters.store.audit_ledger import Ledger
from adapters.store.database import open_database
from adapters.store.decisions import StoredDecisions, writing_connection
from adapters.store.months import make_months
from api.audit_keeper import AuditKeeper
from api.auditing import ClockWatch, KeySigner, witness_path
from api.deciding import DecisionService
from api.identity import AuditWatch, Identity, kept_seal
from api.metrics import Metrics
from api.outside import OutsideTransport
from api.publishing import Publisher
from api.rollout import Follower
from api.settings import Settings
from engine.ports import Clock

__all__ = ["Worker", "build_publisher", "build_worker", "clock_in"]


def clock_in(zone: ZoneInfo) -> Clock:
    """Return the clock of the site."""
    return lambda: dt.datetime.now(zone)


class Worker:
    """What one worker process holds."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.clock = clock_in(settings.zone)
        self.metrics = Metrics()
        self.engine: sa.Engine = open_database(settings.database_url, patience=settings.patience)
        self.provider, self.keys = open_keys(settings.crypto)
        self.seal = EnvelopeSeal(self.provider, self.keys)
        self.ledger = Ledger(self.engine.dialect.name, sm3, self.seal)
        self.log = StoredDecisions(
            self.engine,
            connect=writing_connection(self.engine),
            seal=self.seal,
            ledger=self.ledger,
            patience=settings.patience,
        )
        self.bell = Bell(settings.redis_url)
        self.follower = Follower(
            self.engine, self.bell, sm3, self.clock, settings.data, settings.poll_seconds
        )
        self.outside = OutsideTransport(settings.outside)
        self.watch = AuditWatch(self.log.record, self.clock)
        self.identity = Identity(
            settings.identity,
            self.engine,
            self.clock,
            settings.data,
            watch=self.watch,
            seal=kept_seal(settings.identity, settings.data, self.seal),
            fetch=fetching(self.outside),
        )
        self.service = DecisionService(
            self.follower, self.log, sm3, self.clock, self.metrics, settings.identity.site
        )

    async def close(self) -> None:
        """Write what waits and let go."""
        await asyncio.to_thread(self.follower.close)
        await self.log.close()
        self.engine.dispose()


def build_worker(settings: Settings) -> Worker:
    """Return a worker; nothing runs and nothing is connected yet."""
    return Worker(settings)


def build_publisher(settings: Settings) -> Publisher:
    """Return what keeps the tables and the audit log and publishes the rules folder; nothing is connected."""
    engine = open_database(settings.database_url, patience=settings.patience)
    clock = clock_in(settings.zone)
    provider, keys = open_keys(settings.crypto)
    seal = EnvelopeSeal(provider, keys)
    keeper = AuditKeeper(
        engine,
        Ledger(engine.dialect.name, sm3, seal),
        KeySigner(provider, keys),
        seal,
        sm3,
        clock,
        ClockWatch(clock, time.monotonic),
        witness_path(settings.crypto.environment, settings.data),
        chores=(lambda: _no_answer(make_months(engine, clock())),),
    )
    return Publisher(settings.rules, engine, Bell(settings.redis_url), sm3, clock, keeper)


def _no_answer(_: int) -> None:
    return None
