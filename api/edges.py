"""Guard the edge of the service: hosts, sizes, rates, slow senders, headers of answers, faults without words.

Pure ASGI and outermost, so that nothing is answered past it. On a request that is in order it reads the
headers once, starts one timer if there is a body, and adds prepared headers to the answer.
"""

from __future__ import annotations

import asyncio
import logging
import traceback
from collections.abc import Mapping
from pathlib import Path
from typing import Protocol
from urllib.parse import urlsplit

import msgspec
from limits import RateLimitItem, parse
from limits.aio.storage import MemoryStorage, RedisStorage
from limits.aio.strategies import SlidingWindowCounterRateLimiter
from limits.errors import StorageError
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.problems import Problem

__all__ = ["EdgeSettings", "Edges", "Limiter", "RateLimiter", "build_edges", "read_edge_settings"]

_LOG = logging.getLogger("ruleward.edges")
_OUR_FAULT = ("Internal error", "It is in the log of the service.")
_OWN_NAMES = ("localhost", "127.0.0.1", "[::1]")
_EXEMPT = frozenset({"/live", "/ready"})
"""Neither rate nor name is asked: who watches the service calls it by any address, and under load."""

_PLAIN: tuple[tuple[bytes, bytes], ...] = (
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"x-frame-options", b"DENY"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"permissions-policy", b"camera=(), geolocation=(), microphone=()"),
)
_CSP_DATA = (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'")
_CSP_PAGE = (
    b"content-security-policy",
    b"default-src 'self'; img-src 'self' data:; style-src 'self' 'unsafe-inline'; object-src 'none'; "
    b"base-uri 'none'; form-action 'self'; frame-ancestors 'none'",
)
_NO_STORE = (b"cache-control", b"no-store")
_HSTS = (b"strict-transport-security", b"max-age=31536000; includeSubDomains")


class EdgeSettings(msgspec.Struct, frozen=True, kw_only=True):
    """What a site may set about the edge."""

    hosts: tuple[str, ...] = ()
    """Names by which the service may be called; ``*.hospital.example`` takes subdomains; none: any name."""

    max_body: int = 16 * 1024 * 1024
    """Bytes of any request body; routes have tighter limits of their own."""

    max_head: int = 32 * 1024
    """Bytes of all names and values of a request's headers."""

    max_headers: int = 100
    upload_seconds: float = 20.0
    """How long a body may take from its first byte to its last."""

    rate: str = ""
    """Per client address, such as ``200/second``; empty: no limit (the front may have one)."""

    rate_store: str | None = None
    """A Redis that all workers count in; ``None``: each worker counts for itself."""

    demo: bool = False
    secure_cookies: bool = True
    """Mark every cookie ``Secure``; only a demo over plain HTTP may go without."""


def read_edge_settings(
    environment: Mapping[str, str], *, demo: bool, base_url: str, redis_url: str | None
) -> EdgeSettings:
    """Return the settings; raises ``ValueError`` that names the variable and how to mend it.

    In production the names default to that of ``base_url`` and this machine's own.
    """
    rate = environment.get("RULEWARD_RATE", "")
    try:
        if rate:
            parse(rate)
    except ValueError:
        raise ValueError(f"RULEWARD_RATE: {rate} is no rate. Write one such as 200/second.") from None
    hosts = tuple(
        part.strip().lower() for part in environment.get("RULEWARD_HOSTS", "").split(",") if part.strip()
    )
    if not hosts and not demo:
        hosts = tuple(filter(None, (urlsplit(base_url).hostname, *_OWN_NAMES)))
    return EdgeSettings(
        hosts=hosts,
        max_body=_whole(environment, "RULEWARD_MAX_BODY", 16 * 1024 * 1024),
        upload_seconds=float(_whole(environment, "RULEWARD_UPLOAD_SECONDS", 20)),
        rate=rate,
        rate_store=redis_url if rate else None,
        demo=demo,
        secure_cookies=not demo,
    )


def _whole(environment: Mapping[str, str], name: str, default: int) -> int:
    stated = environment.get(name) or str(default)
    if not (stated.isascii() and stated.isdigit() and 0 < int(stated) < 2**31):
        raise ValueError(f"{name}: {stated} is no whole number above 0. Write one such as {default}.")
    return int(stated)


class Limiter(Protocol):
    """Who counts requests."""

    async def admit(self, client: str) -> bool: ...


class RateLimiter:
    """Count requests by client address in a sliding window, here or in Redis. Fulfils :class:`Limiter`."""

    def __init__(self, rate: str, redis_url: str | None) -> None:
        self._item: RateLimitItem = parse(rate)
        store = MemoryStorage()
        shared = (
            RedisStorage(
                f"async+{redis_url}", wrap_exceptions=True, implementation="redispy",
                key_prefix="ruleward:rate", socket_timeout=0.2, socket_connect_timeout=0.2,
            )
            if redis_url
            else None
        )  # fmt: skip
        self._here = SlidingWindowCounterRateLimiter(store)
        self._counter = SlidingWindowCounterRateLimiter(shared) if shared else self._here

    async def admit(self, client: str) -> bool:
        """Say whether the client may ask once more; where Redis is away, this worker counts alone."""
        try:
            return await self._counter.hit(self._item, client)
        except StorageError as error:
            _LOG.warning("rates are counted in this worker alone: %s", type(error.storage_error).__name__)
            return await self._here.hit(self._item, client)


class _Refusal(Exception):
    def __init__(self, status: int, title: str, detail: str = "") -> None:
        super().__init__(title)
        self.status, self.title, self.detail = status, title, detail


class Edges:
    """Wrap the application; ``limiter`` is ``None`` where rates are not limited."""

    def __init__(self, app: ASGIApp, settings: EdgeSettings, limiter: Limiter | None) -> None:
        self._app, self._settings, self._limiter = app, settings, limiter
        self._exact = frozenset(host for host in settings.hosts if not host.startswith("*."))
        self._below = tuple(host[1:] for host in settings.hosts if host.startswith("*."))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, or refuse it."""
        if scope["type"] != "http":
            if scope["type"] == "websocket":  # there is none; an upgrade must not go round the checks
                await send({"type": "websocket.close", "code": 1008})
                return
            await self._app(scope, receive, send)
            return
        answer = _Answer(scope, send, self._settings)
        try:
            upload = answer.upload = self._inspect(scope, receive)
            if self._limiter is not None and scope["path"] not in _EXEMPT:
                client = scope["client"]
                if not await self._limiter.admit(client[0] if client else ""):
                    raise _Refusal(429, "Too many requests", "Send fewer; try again in a second.")
            await self._app(scope, upload or receive, answer.send)
            if answer.held_back:
                raise _Refusal(500, *_OUR_FAULT)
        except _Refusal as refusal:
            await answer.refuse(refusal)
        except Exception as error:  # the last one to see it: told without its words, which may be a patient's
            _LOG.error("a request ended in %s at %s", type(error).__name__, _place(error))
            await answer.refuse(_Refusal(500, *_OUR_FAULT))

    def _inspect(self, scope: Scope, receive: Receive) -> _Upload | None:
        """Read the headers once; returns what watches over the body, if there is one. Raises ``_Refusal``."""
        settings = self._settings
        headers = scope["headers"]
        host: bytes | None = None
        length: bytes | None = None
        size, chunked = 0, False
        for name, value in headers:
            size += len(name) + len(value)
            if name == b"host":
                if host is not None:
                    raise _Refusal(400, "Two Host headers")
                host = value
            elif name == b"content-length":
                length = value
            elif name == b"transfer-encoding":
                chunked = True
        if size > settings.max_head or len(headers) > settings.max_headers:
            raise _Refusal(431, "Headers too large", f"At most {settings.max_head} bytes.")
        if settings.hosts and scope["path"] not in _EXEMPT and not self._knows(host or b""):
            raise _Refusal(400, "Unknown host", "Not a name of this service.")
        if chunked:
            return _Upload(receive, settings.max_body, settings.upload_seconds)
        if length is None or length == b"0":
            return None
        if len(length) > 18 or int(length) > settings.max_body:
            raise _Refusal(413, "Body too large", f"More than {settings.max_body} bytes.")
        return _Upload(receive, settings.max_body, settings.upload_seconds)

    def _knows(self, stated: bytes) -> bool:
        name = stated.decode("latin-1").lower()
        name = name[: name.find("]") + 1] if name.startswith("[") else name.partition(":")[0]
        return name in self._exact or any(name.endswith(below) for below in self._below)


class _Upload:
    """Receive a body that is neither too large nor too slow."""

    __slots__ = ("_due", "_left", "_receive", "_seconds", "done")

    def __init__(self, receive: Receive, largest: int, seconds: float) -> None:
        self._receive, self._left, self._seconds = receive, largest, seconds
        self._due = 0.0
        self.done = False

    async def __call__(self) -> Message:
        if self.done:  # only a disconnect can follow, whenever it comes
            return await self._receive()
        if not self._due:
            self._due = asyncio.get_running_loop().time() + self._seconds
        try:
            async with asyncio.timeout_at(self._due):
                message = await self._receive()
        except TimeoutError:
            raise _Refusal(408, "Body too slow", f"It took more than {self._seconds:g} seconds.") from None
        self._left -= len(message.get("body", b""))
        if self._left < 0:
            raise _Refusal(413, "Body too large")
        self.done = not message.get("more_body", False)
        return message


class _Answer:
    """Send an answer with the headers that every answer has, or a refusal if none has begun."""

    __slots__ = ("_begun", "_scope", "_send", "_settings", "held_back", "upload")

    def __init__(self, scope: Scope, send: Send, settings: EdgeSettings) -> None:
        self._scope, self._send, self._settings = scope, send, settings
        self._begun = self.held_back = False
        self.upload: _Upload | None = None

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            # A fault inside is answered here, without words of its own and with our headers.
            self.held_back = message["status"] == 500 and not _is_problem(message)
            if self.held_back:
                return
            self._begun = True
            message["headers"] = self._with_ours(message.get("headers") or [])
        elif self.held_back:
            return
        await self._send(message)

    async def refuse(self, refusal: _Refusal) -> None:
        if self._begun:  # half an answer must not look like a whole one: the server cuts the connection
            raise RuntimeError("the answer had begun") from None
        self.held_back = False
        body = msgspec.json.encode(Problem(refusal.title, refusal.status, refusal.detail))
        headers = [
            (b"content-type", b"application/problem+json"),
            (b"content-length", str(len(body)).encode()),
        ]
        if self.upload is None:
            headers.append((b"connection", b"close"))
        if refusal.status == 429:
            headers.append((b"retry-after", b"1"))
        await self._send(
            {"type": "http.response.start", "status": refusal.status, "headers": self._with_ours(headers)}
        )
        await self._send({"type": "http.response.body", "body": body})

    def _with_ours(self, headers: list[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
        page = cached = policy = False
        theirs = []
        for name, value in headers:
            if name == b"content-type":
                page = value.startswith(b"text/html")
            elif name == b"cache-control":
                cached = True
            elif name == b"content-security-policy":
                policy = True
            elif name == b"set-cookie":
                theirs.append((name, _flagged(value, self._settings.secure_cookies)))
                continue
            theirs.append((name, value))
        theirs += _PLAIN
        if self.upload is not None and not self.upload.done:
            theirs.append((b"connection", b"close"))  # or the rest of the body would be taken, without end
        if not policy:
            theirs.append(_CSP_PAGE if page else _CSP_DATA)
        if not cached:
            theirs.append(_NO_STORE)
        if self._scope["scheme"] == "https":
            theirs.append(_HSTS)
        return theirs


def _is_problem(message: Message) -> bool:
    return (b"content-type", b"application/problem+json") in message.get("headers", ())


def _flagged(cookie: bytes, secure: bool) -> bytes:
    """Return a cookie with ``HttpOnly``, ``SameSite`` and ``Secure``, whoever set it."""
    flags = {part.partition(b"=")[0].strip().lower() for part in cookie.split(b";")[1:]}
    if b"httponly" not in flags:
        cookie += b"; HttpOnly"
    if b"samesite" not in flags:
        cookie += b"; SameSite=Lax"
    if secure and b"secure" not in flags:
        cookie += b"; Secure"
    return cookie


def _place(error: BaseException) -> str:
    """Return files and lines of a fault: what mends it, and nothing of what was sent."""
    frames = traceback.extract_tb(error.__traceback__)[-4:]
    return " > ".join(f"{Path(frame.filename).name}:{frame.lineno}" for frame in frames)


def build_edges(app: ASGIApp, settings: EdgeSettings) -> Edges:
    """Return the application behind its edge."""
    limiter = RateLimiter(settings.rate, settings.rate_store) if settings.rate else None
    return Edges(app, settings, limiter)
