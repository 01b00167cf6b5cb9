"""Hold the public keys of those whose tokens we accept: pinned, or fetched from one listed address.

A key set is fetched from the address that the site configured and from no other, whatever a token says; a key
that is not in it is asked for again at most once in :data:`PAUSE_SECONDS`.
"""

from __future__ import annotations

import asyncio
import logging
import time
import warnings
from collections.abc import Awaitable, Callable, Mapping
from typing import Final
from urllib.parse import urlsplit

import httpx
import msgspec
from joserfc import jwk
from joserfc.errors import JoseError

from adapters.identity.refusal import TokenRefused

__all__ = [
    "CURVES",
    "Fetch",
    "KeySet",
    "Keys",
    "RemoteKeys",
    "discover",
    "fetch_json",
    "fetching",
    "read_keys",
    "safe_url",
]

_LOG: Final = logging.getLogger("ruleward.identity")
PAUSE_SECONDS: Final = 30.0
_FRESH_SECONDS: Final = 3600.0
_STALE_SECONDS: Final = 24 * 3600.0
_WAIT_SECONDS: Final = 3.0
_WHOLE_SECONDS: Final = 8.0
_LARGEST: Final = 256 * 1024
_MOST_KEYS: Final = 64
_SHORTEST_RSA: Final = 2048
CURVES: Final = {"ES256": "P-256", "ES384": "P-384", "ES512": "P-521"}

Keys = Mapping[str, jwk.Key]
Fetch = Callable[[str], Awaitable[object]]


def safe_url(url: str) -> bool:
    """Tell whether tokens may rest on what this address says: https, or http to this very machine."""
    parts = urlsplit(url)
    local = parts.hostname in {"localhost", "127.0.0.1", "::1"}
    return (
        bool(parts.hostname)
        and not parts.username
        and (parts.scheme == "https" or (parts.scheme == "http" and local))
    )


async def fetch_json(url: str) -> object:
    """Return the JSON at ``url`` over a connection of its own; as :func:`fetching` does."""
    async with _client() as client:
        return await _fetched(client, url)


def fetching(transport: httpx.AsyncBaseTransport) -> Fetch:
    """Return what fetches JSON over a shared transport, whose time-outs, retries and breaker then hold here.

    No redirect is followed, no large answer read; it raises ``TokenRefused``. The transport stays its owner's
    to close.
    """
    client = _client(transport)

    async def fetch(url: str) -> object:
        return await _fetched(client, url)

    return fetch


def _client(transport: httpx.AsyncBaseTransport | None = None) -> httpx.AsyncClient:
    return httpx.AsyncClient(
        transport=transport, timeout=_WAIT_SECONDS, follow_redirects=False, trust_env=False
    )


async def _fetched(client: httpx.AsyncClient, url: str) -> object:
    try:
        # Of the whole: a server that sends a byte a second holds nobody longer.
        async with (
            asyncio.timeout(_WHOLE_SECONDS),
            client.stream("GET", url, headers={"Accept": "application/json"}) as answer,
        ):
            if answer.status_code != 200:
                raise TokenRefused(f"the key server answered {answer.status_code}")
            body = bytearray()
            async for part in answer.aiter_bytes():
                body += part
                if len(body) > _LARGEST:
                    raise TokenRefused("the key server's answer is too large")
        return msgspec.json.decode(bytes(body))
    except (
        httpx.HTTPError,
        httpx.InvalidURL,
        msgspec.DecodeError,
        TimeoutError,
        UnicodeDecodeError,
        RecursionError,
    ) as error:
        raise TokenRefused(f"the keys cannot be fetched ({type(error).__name__})") from None


def read_keys(told: object) -> dict[str, jwk.Key]:
    """Return the usable signature keys of a JWK Set by their id.

    Left out: symmetric keys, keys to encrypt with, short RSA keys, and every key of an id that stands twice.
    """
    listed = told.get("keys") if isinstance(told, dict) else None
    if not isinstance(listed, list):
        raise TokenRefused("the key set is none")
    found: dict[str, jwk.Key] = {}
    doubled: set[str] = set()
    for one in listed[:_MOST_KEYS]:
        key = _read_key(one)
        if key is None:
            continue
        kid = str(key.kid)
        if kid in found:
            doubled.add(kid)
        found[kid] = key
    return {kid: key for kid, key in found.items() if kid not in doubled}


def _read_key(told: object) -> jwk.Key | None:
    if not isinstance(told, dict) or not isinstance(told.get("kid"), str):
        return None
    if told.get("kty") not in {"EC", "RSA", "OKP"} or told.get("use", "sig") != "sig":
        return None
    public = {
        name: value for name, value in told.items() if name not in {"d", "p", "q", "dp", "dq", "qi", "oth"}
    }
    try:
        with warnings.catch_warnings(action="ignore"):  # of a short key, which is left out below
            key = jwk.import_key(public)
        if isinstance(key, jwk.RSAKey) and key.public_key.key_size < _SHORTEST_RSA:
            return None
    except (JoseError, ValueError, TypeError):
        return None
    return key


class KeySet:
    """Keys that were given beforehand."""

    def __init__(self, keys: Keys) -> None:
        self._keys = keys

    async def find(self, kid: str) -> jwk.Key | None:
        """Return the key with this id."""
        return self._keys.get(kid)


class RemoteKeys:
    """Keys that are fetched from one address when first needed, and again when one is unknown or old."""

    def __init__(
        self,
        address: Callable[[], Awaitable[str]],
        *,
        fetch: Fetch = fetch_json,
        pause: float = PAUSE_SECONDS,
    ) -> None:
        self._address, self._fetch, self._pause = address, fetch, pause
        self._keys: dict[str, jwk.Key] = {}
        self._fetched_at = self._tried_at = float("-inf")
        self._lock = asyncio.Lock()

    async def find(self, kid: str) -> jwk.Key | None:
        """Return the key with this id. Raises ``TokenRefused`` when no keys can be had."""
        if kid not in self._keys or time.monotonic() - self._fetched_at > _FRESH_SECONDS:
            await self._refresh(kid)
        if time.monotonic() - self._fetched_at > _STALE_SECONDS:
            raise TokenRefused("the keys of this issuer cannot be had")
        return self._keys.get(kid)

    async def _refresh(self, kid: str) -> None:
        async with self._lock:
            now = time.monotonic()
            if now - self._tried_at < self._pause:
                return
            if kid in self._keys and now - self._fetched_at <= _FRESH_SECONDS:
                return
            self._tried_at = now
            try:
                self._keys = read_keys(await self._fetch(await self._address()))
                self._fetched_at = time.monotonic()
            except TokenRefused as refused:
                _LOG.warning("keys of an issuer: %s; what was fetched before stays for a day", refused.why)


async def discover(issuer: str, fetch: Fetch = fetch_json) -> str:
    """Return the address of an OpenID provider's keys (OpenID Connect Discovery 1.0, section 4).

    The answer must name this issuer exactly, and keys on the issuer's own host.
    """
    told = await fetch(f"{issuer.rstrip('/')}/.well-known/openid-configuration")
    if not isinstance(told, dict) or told.get("issuer") != issuer:
        raise TokenRefused("the provider's description names another issuer")
    address = told.get("jwks_uri")
    if not isinstance(address, str) or not safe_url(address):
        raise TokenRefused("the provider's description names no safe address of its keys")
    if urlsplit(address).hostname != urlsplit(issuer).hostname:
        raise TokenRefused("the provider's keys lie on another host; name their address in the settings")
    return address
