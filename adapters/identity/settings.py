"""Read what a site says about identity: its mode, its own provider, the CDS clients that it trusts."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import msgspec

from adapters.identity.keys import safe_url
from engine.access import Role

__all__ = ["CdsTrust", "OidcTrust", "Settings", "read", "unsafe"]

_ALGORITHMS: Final = frozenset(
    {"ES256", "ES384", "ES512", "RS256", "RS384", "RS512", "PS256", "PS384", "EdDSA"}
)
_DEMO_URL: Final = "http://localhost:8000"


class CdsTrust(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One CDS client: its ``iss``, and its keys pinned (``jwks``) or at one address (``jku``)."""

    iss: str
    jku: str = ""
    jwks: dict[str, object] | None = None
    site: str = ""
    departments: tuple[str, ...] = ()


class OidcTrust(msgspec.Struct, frozen=True, kw_only=True):
    """The site's own OpenID provider."""

    issuer: str
    audience: str
    client_id: str
    jwks: str
    algorithms: frozenset[str]
    roles_claim: str
    roles: dict[str, Role]
    site: str
    strong_acr: frozenset[str]


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """What identity goes by."""

    production: bool = False
    base_url: str = _DEMO_URL
    oidc: OidcTrust | None = None
    cds_clients: tuple[CdsTrust, ...] = ()
    seal_key: Path | None = None
    site: str = ""
    """The site of demo accounts and of everybody who names none."""


def read(environment: Mapping[str, str]) -> Settings:
    """Return the settings; raises ``ValueError`` that names each variable and how to mend it."""
    mode = environment.get("RULEWARD_MODE") or "demo"
    if mode not in {"demo", "production"}:
        raise ValueError(f"RULEWARD_MODE: {mode} is no mode. Write demo or production.")
    key = environment.get("RULEWARD_IDENTITY_KEY")
    settings = Settings(
        production=mode == "production",
        base_url=(environment.get("RULEWARD_BASE_URL") or ("" if mode == "production" else _DEMO_URL)).rstrip(
            "/"
        ),
        oidc=_oidc(environment),
        cds_clients=_cds(environment.get("RULEWARD_CDS_CLIENTS", "")),
        seal_key=Path(key).absolute() if key else None,
        site=environment.get("RULEWARD_SITE", ""),
    )
    faults = unsafe(settings, environment) if settings.production else ()
    if faults:
        raise ValueError("RULEWARD_MODE=production refuses to start:\n" + "\n".join(faults))
    return settings


def unsafe(settings: Settings, environment: Mapping[str, str]) -> tuple[str, ...]:
    """Return one sentence for each setting that production does not allow."""
    faults = []
    parts = urlsplit(settings.base_url)
    if parts.scheme != "https" or not parts.hostname or parts.path or parts.query or parts.username:
        faults.append(
            "RULEWARD_BASE_URL must be the public https address, as in https://ruleward.hospital.cn."
        )
    if "*" in environment.get("RULEWARD_CORS_ORIGINS", ""):
        faults.append("RULEWARD_CORS_ORIGINS may not be *: name the origins.")
    for name in ("RULEWARD_CORS_ORIGINS", "RULEWARD_FHIR_SERVERS"):
        listed = (one.strip() for one in environment.get(name, "").split(","))
        faults += [
            f"{name}: {one} is not https." for one in listed if one not in {"", "*"} and not _https(one)
        ]
    oidc = settings.oidc
    addresses = [oidc.issuer, oidc.jwks] if oidc else []
    addresses += [client.jku for client in settings.cds_clients]
    faults += [f"{one} must be https: tokens rest on it." for one in addresses if one and not _https(one)]
    if environment.get("AUTHLIB_INSECURE_TRANSPORT"):
        faults.append("AUTHLIB_INSECURE_TRANSPORT is set: unset it.")
    if environment.get("RULEWARD_DEMO_PASSWORD"):
        faults.append("RULEWARD_DEMO_PASSWORD is for demo mode: unset it.")
    return tuple(faults)


def _https(url: str) -> bool:
    return urlsplit(url).scheme == "https"


def _oidc(environment: Mapping[str, str]) -> OidcTrust | None:
    issuer = environment.get("RULEWARD_OIDC_ISSUER", "")
    if not issuer:
        return None
    audience = environment.get("RULEWARD_OIDC_AUDIENCE", "")
    if not safe_url(issuer) or not audience:
        raise ValueError("RULEWARD_OIDC_ISSUER needs https, and RULEWARD_OIDC_AUDIENCE beside it.")
    algorithms = frozenset(environment.get("RULEWARD_OIDC_ALGORITHMS", "RS256,ES256").split(","))
    if not algorithms <= _ALGORITHMS:
        raise ValueError(f"RULEWARD_OIDC_ALGORITHMS: only {', '.join(sorted(_ALGORITHMS))}.")
    roles: dict[str, Role] = {}
    for pair in filter(None, environment.get("RULEWARD_OIDC_ROLES", "").split(",")):
        word, _, role = pair.strip().partition("=")
        if role not in set(Role) - {Role.SERVICE}:
            raise ValueError(
                f"RULEWARD_OIDC_ROLES: {pair} names no role. Write theirs=ours, as in ys=doctor."
            )
        roles[word] = Role(role)
    if not roles:
        roles = {str(role): role for role in Role if role is not Role.SERVICE}
    return OidcTrust(
        issuer=issuer,
        audience=audience,
        client_id=environment.get("RULEWARD_OIDC_CLIENT", ""),
        jwks=environment.get("RULEWARD_OIDC_JWKS", ""),
        algorithms=algorithms,
        roles_claim=environment.get("RULEWARD_OIDC_ROLES_CLAIM") or "roles",
        roles=roles,
        site=environment.get("RULEWARD_SITE", ""),
        strong_acr=frozenset(filter(None, environment.get("RULEWARD_OIDC_STRONG_ACR", "").split(","))),
    )


def _cds(path: str) -> tuple[CdsTrust, ...]:
    if not path:
        return ()
    try:
        clients = msgspec.convert(json.loads(Path(path).read_text("utf-8")), tuple[CdsTrust, ...])
    except (OSError, ValueError) as error:
        raise ValueError(f"RULEWARD_CDS_CLIENTS: {path} cannot be read: {error}.") from None
    for client in clients:
        if not client.iss or not (client.jwks or client.jku):
            raise ValueError(f"RULEWARD_CDS_CLIENTS: {client.iss or 'one'} needs iss, and jwks or jku.")
        if client.jku and not safe_url(client.jku):
            raise ValueError(f"RULEWARD_CDS_CLIENTS: the jku of {client.iss} must be https.")
    return clients
