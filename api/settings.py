"""Read what a site sets, from environment variables; every one is named here with its default."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import msgspec

from adapters.emr.settings import Settings as RecordSettings
from adapters.gm_crypto import settings as crypto
from adapters.identity import settings as identity
from adapters.insurance import settings as insurance
from api.edges import EdgeSettings, read_edge_settings
from api.outside import OutsideSettings, read_outside_settings

__all__ = ["Settings", "read_settings"]


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """The settings of one service."""

    data: Path
    """Where the embedded database and the last good release lie."""

    database_url: str
    rules: Path | None
    """The folder to watch; ``None``: releases come only through the database."""

    redis_url: str | None
    zone: ZoneInfo
    cors_origins: tuple[str, ...]
    patience: float
    """Seconds that a request waits for the decision log."""

    poll_seconds: float
    """How often a worker asks the database for a newer release; announcements by Redis come sooner."""

    first_release_seconds: float
    """How long a worker that starts waits for a release before it answers without one: *not checked*."""

    record: RecordSettings
    insurance: insurance.Settings
    crypto: crypto.Settings
    identity: identity.Settings = msgspec.field(default_factory=identity.Settings)
    edges: EdgeSettings = EdgeSettings()
    outside: OutsideSettings = OutsideSettings()


def read_settings(environment: Mapping[str, str], shipped_rules: Path) -> Settings:
    """Return the settings; raises ``ValueError`` that names the variable and how to mend it."""
    data = Path(environment.get("RULEWARD_DATA") or "var").absolute()
    rules = environment.get("RULEWARD_RULES", str(shipped_rules))
    zone = environment.get("RULEWARD_ZONE") or "Asia/Shanghai"
    try:
        zone_info = ZoneInfo(zone)
    except (ZoneInfoNotFoundError, ValueError):
        raise ValueError(f"RULEWARD_ZONE: {zone} is no time zone. Write one such as Asia/Shanghai.") from None
    redis_url = environment.get("RULEWARD_REDIS_URL") or None
    who = identity.read(environment)
    return Settings(
        data=data,
        database_url=environment.get("RULEWARD_DATABASE_URL") or f"sqlite:///{data / 'ruleward.db'}",
        rules=Path(rules).absolute() if rules else None,
        redis_url=redis_url,
        zone=zone_info,
        cors_origins=_listed(environment, "RULEWARD_CORS_ORIGINS"),
        patience=_seconds(environment, "RULEWARD_PATIENCE", 2.0),
        poll_seconds=_seconds(environment, "RULEWARD_POLL", 0.2),
        first_release_seconds=_seconds(environment, "RULEWARD_FIRST_RELEASE", 10.0),
        record=RecordSettings(fhir_servers=_listed(environment, "RULEWARD_FHIR_SERVERS")),
        insurance=insurance.read(environment),
        crypto=crypto.read(environment, data, demo=not who.production),
        identity=who,
        edges=read_edge_settings(
            environment, demo=not who.production, base_url=who.base_url, redis_url=redis_url
        ),
        outside=read_outside_settings(environment),
    )


def _listed(environment: Mapping[str, str], name: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in environment.get(name, "").split(",") if part.strip())


def _seconds(environment: Mapping[str, str], name: str, default: float) -> float:
    stated = environment.get(name)
    try:
        seconds = float(stated) if stated else default
    except ValueError:
        seconds = 0.0
    if not 0 < seconds < 3600:
        raise ValueError(f"{name}: {stated} is no number of seconds. Write one such as {default}.")
    return seconds
