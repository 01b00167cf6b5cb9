"""Read from the hospital's FHIR server what the caller left out: only servers that the site lists.

A ``fhirServer`` in a request is a stranger's word. It is contacted only if it is on the list, redirects
are not followed, and ``link[next]`` stays on the same origin and below the same path.
"""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Mapping
from urllib.parse import quote, urljoin, urlsplit

import httpx
import msgspec

from adapters.emr.settings import Settings

__all__ = ["FhirReader", "Gap", "Server", "fill_template"]

_LOG = logging.getLogger("ruleward.emr")
_TOKEN = re.compile(r"\{\{\s*context\.([A-Za-z0-9_]+)\s*\}\}")
_ACCEPT = "application/fhir+json, application/json;q=0.9"


class Server(msgspec.Struct, frozen=True):
    """Where to read and with which bearer token."""

    base: str
    token: str | None = None


class Gap(msgspec.Struct, frozen=True):
    """A key that could not be read, and why: for the log and for the answer, never with patient data."""

    key: str
    reason: str


def fill_template(template: str, context: Mapping[str, object]) -> str | None:
    """Return the FHIR query of a prefetch template, percent-encoded; ``None`` if a value is missing."""
    missing = False

    def value(match: re.Match[str]) -> str:
        nonlocal missing
        found = context.get(match.group(1))
        if not isinstance(found, str) or not found:
            missing = True
            return ""
        return quote(found, safe="")

    filled = _TOKEN.sub(value, template)
    return None if missing or ".." in filled.split("?", 1)[0].split("/") else filled


def _timeout(settings: Settings) -> httpx.Timeout:
    return httpx.Timeout(settings.read_seconds, connect=settings.connect_seconds)


class FhirReader:
    """Read prefetch keys concurrently over one pool of connections; close with :meth:`aclose`."""

    def __init__(self, settings: Settings, client: httpx.AsyncClient) -> None:
        self._client, self._settings = client, settings
        self._timeout = _timeout(settings)
        self._allowed = frozenset(base.rstrip("/") for base in settings.fhir_servers)

    @classmethod
    def over_http(cls, settings: Settings, transport: httpx.AsyncBaseTransport | None = None) -> FhirReader:
        """Return a reader with its own pool; proxies of the environment are not used.

        ``transport`` is what tries again, breaks the circuit and refuses addresses; ``None``: httpx alone.
        """
        return cls(
            settings, httpx.AsyncClient(timeout=_timeout(settings), trust_env=False, transport=transport)
        )

    def may_read(self, base: str) -> bool:
        """Say whether the site lists this FHIR server."""
        return base.rstrip("/") in self._allowed

    async def fetch(
        self, server: Server, queries: Mapping[str, str]
    ) -> tuple[dict[str, object], tuple[Gap, ...]]:
        """Return the decoded resources by key, and the keys that could not be read in time."""
        if not queries:
            return {}, ()
        if not self.may_read(server.base):
            return {}, tuple(Gap(key, "fhirServer is not on the site's list") for key in queries)
        tasks = {key: asyncio.create_task(self._one(server, query)) for key, query in queries.items()}
        _, late = await asyncio.wait(tasks.values(), timeout=self._settings.fetch_seconds)
        for task in late:
            task.cancel()
        if late:
            await asyncio.gather(*late, return_exceptions=True)
        found: dict[str, object] = {}
        gaps: list[Gap] = []
        for key, task in tasks.items():
            if task in late:
                gaps.append(Gap(key, "took too long"))
            elif (error := task.exception()) is not None:
                reason = str(error) if isinstance(error, _UnreadableError) else type(error).__name__
                _LOG.warning("prefetch key %s could not be read: %s", key, reason)
                gaps.append(Gap(key, reason))
            else:
                found[key] = task.result()
        return found, tuple(gaps)

    async def aclose(self) -> None:
        """Close the pool."""
        await self._client.aclose()

    async def complete(self, server: Server, value: object) -> object:
        """Return a Bundle sent by the client with its further pages appended, as far as they can be read."""
        if not isinstance(value, dict) or not self.may_read(server.base):
            return value
        try:
            async with asyncio.timeout(self._settings.fetch_seconds):
                return await self._pages(server, value)
        except (TimeoutError, httpx.HTTPError, _UnreadableError):
            return value  # its link[next] stays, so the mapping knows that more exists

    async def _one(self, server: Server, query: str) -> object:
        resource = await self._get(server, f"{server.base.rstrip('/')}/{query}")
        if isinstance(resource, dict) and resource.get("resourceType") == "OperationOutcome":
            raise _UnreadableError("answered with an OperationOutcome")
        if not isinstance(resource, dict) or "_count=" in query:  # asks for the newest only: one page
            return resource
        return await self._pages(server, resource)

    async def _pages(self, server: Server, first: dict[str, object]) -> dict[str, object]:
        """Follow ``link[next]``; what is left after the last allowed page keeps its link."""
        entries = first.get("entry")
        joined = list(entries) if isinstance(entries, list) else []
        link, seen, grown = _next(first), {""}, False
        for _ in range(self._settings.max_pages - 1):
            if link is None:
                break
            url = urljoin(server.base.rstrip("/") + "/", link)
            if url in seen or not _within(url, server.base):
                break
            seen.add(url)
            page = await self._get(server, url)
            if not isinstance(page, dict) or page.get("resourceType") != "Bundle":
                raise _UnreadableError("a further page is no Bundle")
            more = page.get("entry")
            joined += more if isinstance(more, list) else []
            link, grown = _next(page), True
        if not grown:
            return first
        left: list[dict[str, object]] = [] if link is None else [{"relation": "next", "url": link}]
        return {**first, "entry": joined, "link": left}

    async def _get(self, server: Server, url: str) -> object:
        headers = {"Accept": _ACCEPT}
        if server.token:
            headers["Authorization"] = f"Bearer {server.token}"
        async with self._client.stream(
            "GET", url, headers=headers, timeout=self._timeout, follow_redirects=False
        ) as response:
            if response.status_code != 200:
                raise _UnreadableError(f"answered {response.status_code}")
            body = bytearray()
            async for chunk in response.aiter_bytes():
                body += chunk
                if len(body) > self._settings.max_bytes:
                    raise _UnreadableError("answered more than is read")
        try:
            decoded: object = msgspec.json.decode(bytes(body))
        except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
            raise _UnreadableError("answered no JSON") from None
        return decoded


class _UnreadableError(Exception):
    """Why one key could not be read."""


def _next(bundle: Mapping[str, object]) -> str | None:
    links = bundle.get("link")
    for link in links if isinstance(links, list) else ():
        if isinstance(link, dict) and link.get("relation") == "next" and isinstance(link.get("url"), str):
            return str(link["url"])
    return None


def _within(url: str, base: str) -> bool:
    """Say whether a URL has the origin of the base and lies below its path."""
    one, other = urlsplit(url), urlsplit(base.rstrip("/"))
    same = (one.scheme, one.hostname, one.port) == (other.scheme, other.hostname, other.port)
    path = one.path.rstrip("/")
    below = path == other.path or path.startswith(f"{other.path}/")
    return same and below and one.username is None and ".." not in path.split("/")
