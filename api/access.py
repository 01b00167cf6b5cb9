"""Ask at each route whether the caller may: a dependency that each route declares, and that OpenAPI shows.

``requires(verb, resource)`` at a route is its permission; a route for everybody says so with ``PUBLIC``. In
demo mode the routes marked ``demo`` answer callers without a token, and nothing is looked up for them.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import logging
import time
from collections.abc import Callable
from typing import Any, Final, Protocol

import msgspec
import sqlalchemy as sa
from fastapi import FastAPI, Request, Response, Security
from fastapi.openapi.models import HTTPBearer
from fastapi.security.base import SecurityBase

from adapters.identity import jws
from adapters.identity.refusal import TokenRefused
from adapters.identity.tokens import AccessTokens, CdsTokens, issuer_of
from api.problems import PROBLEM, Problem
from engine.access import (
    ADMINISTRATORS,
    Caller,
    Permission,
    Place,
    Resource,
    Role,
    Verb,
    may,
    needs_second_factor,
    reach_of,
)
from engine.identity import Happening, Watch
from engine.ports import Clock

__all__ = [
    "DEMO",
    "PUBLIC",
    "Access",
    "AccessRefused",
    "Revocations",
    "caller_of",
    "install",
    "requires",
    "sees",
]

_LOG: Final = logging.getLogger("ruleward.identity")
SCHEME: Final = "ruleward"
PUBLIC: Final[dict[str, Any]] = {"security": []}
"""For ``openapi_extra`` of a route that everybody may call."""

DEMO: Final = Caller(
    subject="demo", roles=frozenset(role for role in Role if role not in ADMINISTRATORS | {Role.SERVICE})
)
"""Who calls without a token in demo mode."""

_REFUSALS: Final = {
    "401": "No token that counts",
    "403": "Not the caller's to do",
    "503": "Who calls cannot be established now",
}
_GLASS_HELPS: Final = frozenset({Resource.DECISION, Resource.PRESCRIPTION})


class AccessRefused(Exception):
    """A request that is not let in; answered as problem details with ``WWW-Authenticate`` (RFC 6750)."""

    def __init__(self, status: int, title: str, challenge: str = "") -> None:
        super().__init__(title)
        self.status, self.title, self.challenge = status, title, challenge


class Broken(Protocol):
    """Until when an account has emergency access."""

    def standing_glass(self, account_id: str, at: dt.datetime, /) -> dt.datetime | None: ...


class Revocations:
    """What was revoked, as the database said at most ``seconds`` ago."""

    def __init__(
        self,
        read: Callable[[dt.datetime], frozenset[str]],
        clock: Clock,
        seconds: float = 2.0,
        stale: float = 60.0,
    ) -> None:
        self._read, self._clock, self._seconds, self._stale = read, clock, seconds, stale
        self._held: frozenset[str] = frozenset()
        self._read_at = self._tried_at = float("-inf")
        self._lock = asyncio.Lock()

    def __call__(self) -> frozenset[str]:
        """Return the ids."""
        return self._held

    def changed(self) -> None:
        """Ask again at the next request: something was revoked here."""
        self._tried_at = float("-inf")

    async def refresh(self) -> None:
        """Ask the database when it is time; raises ``AccessRefused`` after a minute without an answer."""
        if self._fresh():
            return
        async with self._lock:
            if self._fresh():
                return
            self._tried_at = time.monotonic()
            try:
                self._held = await asyncio.to_thread(self._read, self._clock())
                self._read_at = time.monotonic()
            except sa.exc.SQLAlchemyError as error:
                _LOG.warning("revoked tokens cannot be read: %s", type(error).__name__)
        if time.monotonic() - self._read_at > self._stale:
            self.changed()
            raise AccessRefused(503, "Who calls cannot be established now")

    def _fresh(self) -> bool:
        """Tell whether nothing needs asking; before the first answer everybody waits for it."""
        now = time.monotonic()
        return now - self._tried_at < self._seconds and now - self._read_at <= self._stale


class Access:
    """What decides who gets in: one for a worker, at ``app.state.access``."""

    def __init__(
        self,
        tokens: AccessTokens,
        cds: CdsTokens,
        revocations: Revocations,
        glass: Broken,
        clock: Clock,
        watch: Watch,
        *,
        enforced: bool,
        base_url: str,
    ) -> None:
        """``enforced``: production, where no route is open that is not public."""
        self._tokens, self._cds, self._revocations = tokens, cds, revocations
        self._glass, self._clock, self._watch = glass, clock, watch
        self.enforced, self._base_url = enforced, base_url

    async def admit(self, request: Request, permission: Permission) -> Caller:
        """Return who calls; raises :class:`AccessRefused`."""
        token = _bearer(request)
        try:
            caller = await self._caller(token, request, permission)
        except TokenRefused as refused:
            self._watch(Happening(kind="refused_token", result="refused", detail=refused.why))
            challenge = f'error="invalid_token", error_description="{refused.why}"'
            raise AccessRefused(401, "The token does not count", challenge) from None
        except sa.exc.SQLAlchemyError as error:
            _LOG.error("who calls cannot be established: %s", type(error).__name__)
            raise AccessRefused(503, "Who calls cannot be established now") from None
        if self.enforced and not caller.strong and needs_second_factor(caller.roles):
            raise AccessRefused(403, "A second factor is needed", 'error="insufficient_user_authentication"')
        if not may(caller, permission, self._clock()):
            self._watch(
                Happening(
                    kind="refused_token", result="forbidden", subject=caller.subject, detail=str(permission)
                )
            )
            challenge = f'error="insufficient_scope", scope="{permission}"'
            raise AccessRefused(403, "This is not yours to do", challenge)
        return caller

    async def _caller(self, token: str, request: Request, permission: Permission) -> Caller:
        await self._revocations.refresh()
        known = self._tokens.remembered(token)
        if known is None:
            parsed = jws.parse(token)
            if permission.resource is Resource.ORDER and self._cds.knows(issuer_of(parsed)):
                return await self._cds.verify(parsed, self._base_url + request.scope["path"])
            known = await self._tokens.verify(parsed)
        if permission.resource in _GLASS_HELPS and Role.SERVICE not in known.roles:
            until = await asyncio.to_thread(self._glass.standing_glass, known.subject, self._clock())
            known = msgspec.structs.replace(known, glass_until=until)
        return known

    def sees(self, caller: Caller, permission: Permission, place: Place) -> bool:
        """Tell whether this object is within the caller's reach; else answer 404, as if it were not there."""
        return caller is DEMO or may(caller, permission, self._clock(), place)

    def reach(self, caller: Caller, permission: Permission) -> int:
        """Return how far a list may go."""
        return reach_of(caller, permission, self._clock()) or 0


def _bearer(request: Request) -> str:
    stated = request.headers.getlist("authorization")
    if not stated:
        raise AccessRefused(401, "A token is needed")
    scheme, _, token = stated[0].partition(" ")
    if len(stated) > 1 or scheme.lower() != "bearer" or not token or " " in token:
        raise AccessRefused(401, "A token is needed", 'error="invalid_request"')
    return token


class _Needs(SecurityBase):
    """The dependency of a route."""

    def __init__(self, permission: Permission, demo: bool) -> None:
        self.permission, self.demo = permission, demo
        self.model = HTTPBearer(bearerFormat="JWT", description="An access token, or a CDS client's JWT")
        self.scheme_name = SCHEME

    async def __call__(self, request: Request) -> None:
        access: Access = request.app.state.access
        if request.method == "OPTIONS":  # says what one may ask, and nothing else
            return
        if (
            self.demo
            and not access.enforced
            and (self.permission.verb is Verb.CHECK or "authorization" not in request.headers)
        ):
            return
        request.state.caller = await access.admit(request, self.permission)


def requires(verb: Verb, resource: Resource, *, demo: bool = False) -> Any:
    """Return what a route puts into ``dependencies``; ``demo``: open to everybody in demo mode."""
    permission = Permission(verb, resource)
    return Security(_Needs(permission, demo), scopes=[str(permission)])


def caller_of(request: Request) -> Caller:
    """Return who calls, inside a route that declares its permission."""
    caller: Caller | None = getattr(request.state, "caller", None)
    if caller is None:
        access: Access = request.app.state.access
        if access.enforced:
            raise AccessRefused(401, "A token is needed")
        return DEMO
    return caller


def sees(request: Request, verb: Verb, resource: Resource, place: Place) -> bool:
    """Tell whether an object that belongs to ``place`` is within the caller's reach."""
    access: Access = request.app.state.access
    return access.sees(caller_of(request), Permission(verb, resource), place)


async def _refuse(_request: Request, error: Exception) -> Response:
    if not isinstance(error, AccessRefused):
        raise error
    headers = {"Cache-Control": "no-store"}
    if error.status in {401, 403}:
        headers["WWW-Authenticate"] = ", ".join(filter(None, ('Bearer realm="ruleward"', error.challenge)))
    if error.status == 503:
        headers["Retry-After"] = "1"
    body = msgspec.json.encode(Problem(error.title, error.status))
    return Response(body, error.status, headers, "application/problem+json")


def install(app: FastAPI, access: Access) -> None:
    """Give the application its doorkeeper."""
    app.state.access = access
    app.add_exception_handler(AccessRefused, _refuse)
    describe = app.openapi

    def openapi() -> dict[str, Any]:
        """Describe the routes, and how those that need a permission refuse."""
        fresh = app.openapi_schema is None
        told = describe()
        if fresh:
            for operations in told["paths"].values():
                for operation in operations.values():
                    if operation.get("security"):
                        for status, what in _REFUSALS.items():
                            operation["responses"].setdefault(status, {"description": what, **PROBLEM})
        return told

    app.openapi = openapi  # type: ignore[method-assign]
