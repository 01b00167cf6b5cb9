"""Verify tokens: access tokens of listed issuers, and the client JWTs of CDS Hooks 2.0.

Every doubt is a :class:`TokenRefused`; nothing that a caller sends raises anything else.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final, Protocol

import msgspec
from joserfc import jwk

from adapters.identity import jws
from adapters.identity.refusal import TokenRefused
from adapters.identity.replay import Replays
from engine.access import Caller, Role, role_faults
from engine.ports import Clock

__all__ = ["CDS_ALGORITHMS", "AccessTokens", "CdsClient", "CdsTokens", "FindsKey", "Issuer", "issuer_of"]

SKEW: Final = 60.0
CDS_ALGORITHMS: Final = frozenset({"ES384", "RS384"})
_CDS_LIVES: Final = 600.0
_LONGEST_ID: Final = 256
_STRONG: Final = frozenset({"otp", "hwk", "mfa", "sc", "swk", "fpt"})
_LATEST: Final = 1e11
_MOST_KNOWN: Final = 4096


class FindsKey(Protocol):
    """Where the keys of one issuer come from."""

    async def find(self, kid: str, /) -> jwk.Key | None: ...


class Issuer(msgspec.Struct, frozen=True, kw_only=True):
    """Whose access tokens we accept, and how roles are read from them."""

    name: str
    audience: str
    keys: FindsKey
    algorithms: frozenset[str]
    kinds: frozenset[str]
    lives: float = 3600.0
    """Longest time between iat and exp, in seconds."""

    roles_claim: str = "roles"
    roles: Mapping[str, Role] = {}
    """What the claim says and which role it means; what is not listed means nothing."""

    site: str = ""
    """The site of everybody whom this issuer names, when tokens do not say it."""

    strong_acr: frozenset[str] = frozenset()
    services: bool = False
    """Whether its tokens may be those of service accounts."""


class CdsClient(msgspec.Struct, frozen=True, kw_only=True):
    """A CDS client: its ``iss``, its keys, and the one ``jku`` that its tokens may name."""

    issuer: str
    keys: FindsKey
    jku: str = ""
    site: str = ""
    departments: frozenset[str] = frozenset()


def issuer_of(parsed: jws.Parsed) -> str:
    """Return the issuer that a token claims, unverified: it says whose keys to use, and nothing else."""
    return _text(parsed.claims, "iss")


def _text(claims: dict[str, Any], name: str) -> str:
    value = claims.get(name)
    if not isinstance(value, str) or not 0 < len(value) <= _LONGEST_ID:
        raise TokenRefused(f"{name} is missing or no word")
    return value


def _moment(claims: dict[str, Any], name: str) -> float:
    value = claims.get(name)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TokenRefused(f"{name} is missing or no time")
    if not 0 < value < _LATEST:  # false for NaN and for numbers without end
        raise TokenRefused(f"{name} is no time")
    return float(value)


def _times(claims: dict[str, Any], now: float, lives: float) -> float:
    """Check ``iat``, ``nbf`` and ``exp`` with a minute for clocks that differ; returns ``exp``."""
    issued, expires = _moment(claims, "iat"), _moment(claims, "exp")
    if issued > now + SKEW:
        raise TokenRefused("the token is of the future")
    if "nbf" in claims and _moment(claims, "nbf") > now + SKEW:
        raise TokenRefused("the token is not valid yet")
    if expires <= now - SKEW:
        raise TokenRefused("the token has expired")
    if expires <= issued:
        raise TokenRefused("the token ends before it begins")
    if expires - issued > lives:
        raise TokenRefused("the token lives too long")
    return expires


def _audience(claims: dict[str, Any], wanted: str) -> None:
    told = claims.get("aud")
    listed = told if isinstance(told, list) else [told]
    if len(listed) > 16 or not all(isinstance(one, str) for one in listed) or wanted not in listed:
        raise TokenRefused("the token is for somebody else")


class CdsTokens:
    """Verify the JWT that a CDS client sends with each call (CDS Hooks 2.0, Trusting CDS Clients)."""

    def __init__(self, clients: Iterable[CdsClient], replays: Replays, clock: Clock) -> None:
        self._clients = {client.issuer: client for client in clients}
        self._replays, self._clock = replays, clock

    def knows(self, issuer: str) -> bool:
        """Tell whether the issuer is one of the listed clients."""
        return issuer in self._clients

    async def verify(self, parsed: jws.Parsed, endpoint: str) -> Caller:
        """Return the client; ``endpoint`` is the exact public URL that was called."""
        if parsed.algorithm not in CDS_ALGORITHMS:
            raise TokenRefused("the algorithm is not allowed")
        if parsed.kind != "jwt":
            raise TokenRefused("the token is of another kind")
        client = self._clients.get(issuer_of(parsed))
        if client is None:
            raise TokenRefused("the issuer is not listed")
        if parsed.jku and parsed.jku != client.jku:
            raise TokenRefused("the header's jku is not listed")
        key = await client.keys.find(parsed.kid)
        if key is None:
            raise TokenRefused("the key is not known")
        claims = jws.verify(parsed, key)
        at = self._clock()
        expires = _times(claims, at.timestamp(), _CDS_LIVES)
        _audience(claims, endpoint)
        jti = _text(claims, "jti")
        until = dt.datetime.fromtimestamp(expires + SKEW + 1, dt.UTC)
        await self._replays.take(client.issuer, jti, until, at)
        return Caller(
            subject=client.issuer,
            roles=frozenset({Role.SERVICE}),
            scopes=frozenset({"check:order"}),
            site=client.site,
            departments=client.departments,
        )


class AccessTokens:
    """Verify the access tokens of listed issuers (RFC 9068, RFC 8725)."""

    def __init__(
        self, issuers: Iterable[Issuer], clock: Clock, revoked: Callable[[], frozenset[str]] = frozenset
    ) -> None:
        self._issuers = {issuer.name: issuer for issuer in issuers}
        self._clock, self._revoked = clock, revoked
        self._known: dict[str, tuple[Caller, float, frozenset[str]]] = {}

    def remembered(self, token: str) -> Caller | None:
        """Return whose token this is if it was verified before, is still alive and was not revoked since."""
        found = self._known.get(token)
        if found is None:
            return None
        caller, expires, ends_with = found
        if expires <= self._clock().timestamp() - SKEW or not self._revoked().isdisjoint(ends_with):
            del self._known[token]
            return None
        return caller

    async def verify(self, parsed: jws.Parsed) -> Caller:
        """Return who calls. Raises ``TokenRefused``."""
        issuer = self._issuers.get(issuer_of(parsed))
        if issuer is None:
            raise TokenRefused("the issuer is not listed")
        if parsed.algorithm not in issuer.algorithms:
            raise TokenRefused("the algorithm is not allowed")
        if parsed.kind not in issuer.kinds:
            raise TokenRefused("the token is of another kind")
        if parsed.jku:
            raise TokenRefused("the header may not hold jku")
        key = await issuer.keys.find(parsed.kid)
        if key is None:
            raise TokenRefused("the key is not known")
        claims = jws.verify(parsed, key)
        expires = _times(claims, self._clock().timestamp(), issuer.lives)
        _audience(claims, issuer.audience)
        if "nonce" in claims or "at_hash" in claims:
            raise TokenRefused("an ID token gives no access")
        ends_with = frozenset(one for one in (claims.get("jti"), claims.get("sid")) if isinstance(one, str))
        if not self._revoked().isdisjoint(ends_with):
            raise TokenRefused("the token was revoked")
        family = claims.get("sid")
        caller = _caller(claims, issuer, family if isinstance(family, str) else "")
        if len(self._known) >= _MOST_KNOWN:
            self._known.clear()
        self._known[parsed.token] = (caller, expires, ends_with)
        return caller


def _words(claims: dict[str, Any], name: str) -> tuple[str, ...]:
    """Return the words of a claim: a list, or text with blanks; ``a.b`` is b in a (realm_access.roles)."""
    value: object = claims.get(name)
    if value is None and "." in name:
        value = claims
        for part in name.split("."):
            value = value.get(part) if isinstance(value, dict) else None
    if isinstance(value, str):
        return tuple(value.split())
    return tuple(one for one in value if isinstance(one, str)) if isinstance(value, list) else ()


def _caller(claims: dict[str, Any], issuer: Issuer, family: str) -> Caller:
    subject = _text(claims, "sub")
    roles = frozenset(
        issuer.roles[word] for word in _words(claims, issuer.roles_claim) if word in issuer.roles
    )
    if Role.SERVICE in roles and not issuer.services:
        raise TokenRefused("this issuer names no service accounts")
    if role_faults(roles):
        raise TokenRefused("these roles cannot be one account")
    site = claims.get("site", issuer.site)
    acr = claims.get("acr")
    return Caller(
        subject=subject,
        roles=roles,
        scopes=frozenset(_words(claims, "scope")),
        site=site if isinstance(site, str) else "",
        departments=frozenset(_words(claims, "departments")),
        strong=not _STRONG.isdisjoint(_words(claims, "amr"))
        or (isinstance(acr, str) and acr in issuer.strong_acr),
        family=family,
    )
