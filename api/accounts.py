"""Administer accounts and clients, and keep emergency access: with a reason, listed, reviewed by another."""

from __future__ import annotations

import datetime as dt
import re
import secrets
import uuid
from collections.abc import Callable
from typing import Annotated, Any, Final, TypeVar

import msgspec
from fastapi import APIRouter, Depends, Request, Response

from adapters.identity.embedded import Provider, new_secret
from adapters.identity.passwords import Passwords
from api.access import caller_of, requires, sees
from api.problems import PROBLEM, problem
from engine.access import LONGEST_GLASS, SCOPES, Place, Resource, Role, Verb, glass_faults, role_faults
from engine.identity import Account, Client, Glass, GlassStore, Happening, Watch

__all__ = ["NewAccount", "account_of", "first_password", "router"]

T = TypeVar("T")
_LARGEST: Final = 64 * 1024
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{1,63}")
_WRONG: Final[dict[int | str, dict[str, Any]]] = {
    401: {"description": "No token that counts", **PROBLEM},
    403: {"description": "Not the caller's to do", **PROBLEM},
    422: {"description": "What is wrong", **PROBLEM},
}
_GONE: Final[dict[int | str, dict[str, Any]]] = {
    404: {"description": "No such thing in reach", **PROBLEM},
    **_WRONG,
}


class NewAccount(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """A new account."""

    name: str
    title: str
    staff_number: str
    roles: tuple[Role, ...]
    site: str = ""
    departments: tuple[str, ...] = ()


class AccountChange(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True, kw_only=True):
    """What changes of an account; the rest stays."""

    roles: tuple[Role, ...] | None = None
    site: str | None = None
    departments: tuple[str, ...] | None = None
    disabled: bool | None = None
    unlock: bool = False
    reset_password: bool = False
    reset_second_factor: bool = False


class NewClient(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """A client: an application of persons (``public``, ``confidential``), or an adapter (``service``)."""

    id: str
    title: str
    kind: str
    redirect_uris: tuple[str, ...] = ()
    logout_uris: tuple[str, ...] = ()
    scopes: tuple[str, ...] = ()
    site: str = ""
    departments: tuple[str, ...] = ()
    disabled: bool = False


class Wish(msgspec.Struct, forbid_unknown_fields=True):
    """A wish for emergency access."""

    reason: str
    minutes: int


class Verdict(msgspec.Struct, forbid_unknown_fields=True):
    """The review of an emergency access."""

    justified: bool


async def _body(request: Request) -> bytes:
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > _LARGEST:
            return b""
    return bytes(body)


Body = Annotated[bytes, Depends(_body)]


def _read(body: bytes, kind: type[T]) -> T | Response:
    try:
        return msgspec.json.decode(body, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        what, _, path = str(error).partition(" - at ")
        return problem(422, "Unreadable body", what, path.strip("`") or "$")


def _json(body: object, status: int = 200) -> Response:
    return Response(
        msgspec.json.encode(body), status, {"Cache-Control": "no-store"}, media_type="application/json"
    )


def _shown(account: Account) -> dict[str, object]:
    return {
        "id": account.id,
        "name": account.name,
        "title": account.title,
        "staff_number": account.staff_number,
        "roles": account.roles,
        "site": account.site,
        "departments": account.departments,
        "disabled": account.disabled,
        "locked_until": account.locked_until,
        "one_time_codes": account.totp_secret is not None,
    }


def _takes(example: type) -> dict[str, Any]:
    (schema,), parts = msgspec.json.schema_components([example], ref_template="#/{name}")
    told = parts.get(str(schema.get("$ref", "")).removeprefix("#/"), schema)
    for inner in ("properties",):
        told = {**told, inner: {name: _flat(one, parts) for name, one in told.get(inner, {}).items()}}
    return {"requestBody": {"required": True, "content": {"application/json": {"schema": told}}}}


def _flat(schema: Any, parts: dict[str, Any]) -> Any:
    if isinstance(schema, list):
        return [_flat(one, parts) for one in schema]
    if not isinstance(schema, dict):
        return schema
    if "$ref" in schema:
        return _flat(parts[schema["$ref"].removeprefix("#/")], parts)
    return {name: _flat(one, parts) for name, one in schema.items()}


def first_password() -> str:
    """Return a random password that meets the policy."""
    return f"{secrets.token_urlsafe(12)}-Aa1"  # 96 random bits, and a character of each kind


def account_of(
    wanted: NewAccount, passwords: Passwords, at: dt.datetime, *, demo: bool = False
) -> tuple[Account, str]:
    """Return a new account and its first password, which must be changed at the first sign-in.

    Raises ``ValueError`` with all that is wrong.
    """
    faults = list(role_faults(wanted.roles))
    if not _NAME.fullmatch(wanted.name):
        faults.append("A name has 2 to 64 letters, digits, dots, dashes.")
    if not wanted.staff_number or len(wanted.staff_number) > 64:
        faults.append("An account belongs to a person: state the staff number.")
    if not wanted.roles or Role.SERVICE in wanted.roles:
        faults.append("A person needs a role of a person.")
    if faults:
        raise ValueError(" ".join(faults))
    password = first_password()
    account = Account(
        id=str(uuid.uuid4()),
        name=wanted.name,
        title=wanted.title[:200],
        staff_number=wanted.staff_number,
        roles=wanted.roles,
        site=wanted.site,
        departments=wanted.departments,
        password_hash=passwords.hash(password),
        password_changed_at=at,
        must_change_password=not demo,
        demo=demo,
    )
    return account, password


def router(
    provider: Provider, glasses: GlassStore, passwords: Passwords, watch: Watch, revoked: Callable[[], None]
) -> APIRouter:
    """Return ``/accounts``, ``/clients`` and ``/glass``."""
    routes = APIRouter()
    _accounts(routes, provider, passwords, watch, revoked)
    _clients(routes, provider, watch)
    _glass(routes, provider, glasses, watch)
    return routes


def _accounts(
    routes: APIRouter, provider: Provider, passwords: Passwords, watch: Watch, revoked: Callable[[], None]
) -> None:
    store = provider.store

    @routes.get(
        "/accounts",
        tags=["accounts"],
        summary="All accounts",
        dependencies=[requires(Verb.READ, Resource.ACCOUNT)],
        responses=_WRONG,
    )
    def listed() -> Response:
        return _json([_shown(account) for account in store.all()])

    @routes.post(
        "/accounts",
        tags=["accounts"],
        summary="Add an account",
        status_code=201,
        dependencies=[requires(Verb.WRITE, Resource.ACCOUNT)],
        responses=_WRONG,
        openapi_extra=_takes(NewAccount),
    )
    def add(request: Request, body: Body) -> Response:
        wanted = _read(body, NewAccount)
        if isinstance(wanted, Response):
            return wanted
        try:
            account, password = account_of(wanted, passwords, provider.now())
            store.add(account)
        except ValueError as error:
            return problem(422, "No such account can be", str(error))
        by = caller_of(request).subject
        watch(
            Happening(
                kind="account", result="added", subject=account.id, by=by, detail=" ".join(account.roles)
            )
        )
        return _json({**_shown(account), "first_password": password}, 201)

    @routes.patch(
        "/accounts/{account_id}",
        tags=["accounts"],
        summary="Change an account: its tokens and sessions end",
        dependencies=[requires(Verb.WRITE, Resource.ACCOUNT)],
        responses=_GONE,
        openapi_extra=_takes(AccountChange),
    )
    def change(account_id: str, request: Request, body: Body) -> Response:
        wanted = _read(body, AccountChange)
        if isinstance(wanted, Response):
            return wanted
        account, by = store.by_id(account_id), caller_of(request).subject
        if account is None:
            return problem(404, "No such account")
        if account.id == by:
            return problem(422, "Nobody administers himself", "Ask another security administrator.")
        told: dict[str, object] = {
            name: value
            for name in ("roles", "site", "departments", "disabled")
            if (value := getattr(wanted, name)) is not None
        }
        answer: dict[str, object] = {}
        if wanted.unlock:
            told |= {"failures": 0, "locked_until": None}
        if wanted.reset_second_factor:
            told |= {"totp_secret": None}
            store.drop_passkeys(account.id)
        if wanted.reset_password:
            fresh = first_password()
            told |= {"password_hash": passwords.hash(fresh), "must_change_password": True}
            answer["first_password"] = fresh
        try:
            store.change(account.id, **told)
        except ValueError as error:
            return problem(422, "No such account can be", str(error))
        store.end_sessions_of(account.id)
        store.revoke_families_of(provider.now(), account=account.id)
        revoked()
        watch(
            Happening(
                kind="account", result="changed", subject=account.id, by=by, detail=" ".join(sorted(told))
            )
        )
        return _json({**_shown(store.by_id(account.id) or account), **answer})


def _clients(routes: APIRouter, provider: Provider, watch: Watch) -> None:
    store = provider.store

    def shown(client: Client) -> dict[str, object]:
        return {
            name: value for name, value in msgspec.structs.asdict(client).items() if name != "secret_hash"
        }

    @routes.get(
        "/clients",
        tags=["accounts"],
        summary="All OAuth clients and service accounts",
        dependencies=[requires(Verb.READ, Resource.CLIENT)],
        responses=_WRONG,
    )
    def listed() -> Response:
        return _json([shown(client) for client in store.clients()])

    @routes.put(
        "/clients",
        tags=["accounts"],
        summary="Add a client or replace it; a secret is shown once",
        dependencies=[requires(Verb.WRITE, Resource.CLIENT)],
        responses=_WRONG,
        openapi_extra=_takes(NewClient),
    )
    def put(request: Request, body: Body) -> Response:
        wanted = _read(body, NewClient)
        if isinstance(wanted, Response):
            return wanted
        faults = _client_faults(wanted)
        if faults:
            return problem(422, "No such client can be", " ".join(faults))
        secret, digest = ("", "") if wanted.kind == "public" else new_secret()
        client = Client(secret_hash=digest, **msgspec.structs.asdict(wanted))
        store.put_client(client)
        by = caller_of(request).subject
        watch(
            Happening(
                kind="client", result="written", subject=client.id, by=by, detail=" ".join(client.scopes)
            )
        )
        return _json({**shown(client), **({"secret": secret} if secret else {})})


def _client_faults(wanted: NewClient) -> list[str]:
    faults = []
    if not _NAME.fullmatch(wanted.id):
        faults.append("An id has 2 to 64 letters, digits, dots, dashes.")
    if wanted.kind not in {"public", "confidential", "service"}:
        faults.append("kind is public, confidential or service.")
    if wanted.kind == "service":
        unknown = set(wanted.scopes) - SCOPES
        if unknown or not wanted.scopes:
            faults.append(f"scopes are of {', '.join(sorted(SCOPES))}.")
    elif not wanted.redirect_uris:
        faults.append("redirect_uris names where a person comes back to.")
    for uri in (*wanted.redirect_uris, *wanted.logout_uris):
        if not re.fullmatch(r"https://[^\s#;,*]+|http://(localhost|127\.0\.0\.1)(:\d+)?/[^\s#;,*]*", uri):
            faults.append("An address is https, or http of this machine, without * and #.")
            break
    return faults


def _glass(routes: APIRouter, provider: Provider, glasses: GlassStore, watch: Watch) -> None:
    @routes.post(
        "/glass",
        tags=["emergency access"],
        summary="Take emergency access, with a reason and an end",
        status_code=201,
        dependencies=[requires(Verb.USE, Resource.GLASS)],
        responses=_WRONG,
        openapi_extra=_takes(Wish),
    )
    def take(request: Request, body: Body) -> Response:
        wish = _read(body, Wish)
        if isinstance(wish, Response):
            return wish
        minutes = max(0, min(wish.minutes, int(LONGEST_GLASS.total_seconds() // 60) + 1))
        lasts = dt.timedelta(minutes=minutes)
        faults = glass_faults(wish.reason, lasts)
        if faults or len(wish.reason) > 2000:
            return problem(
                422, "No such emergency access", " ".join(faults) or "The reason is too long.", "$"
            )
        at, caller = provider.now(), caller_of(request)
        glass = Glass(
            id=str(uuid.uuid4()),
            account=caller.subject,
            site=caller.site,
            reason=wish.reason.strip(),
            began_at=at,
            until=at + lasts,
        )
        glasses.break_glass(glass)
        watch(Happening(kind="glass", result="taken", subject=caller.subject, detail=glass.id))
        return _json(glass, 201)

    @routes.get(
        "/glass",
        tags=["emergency access"],
        summary="Emergency accesses and their reviews",
        dependencies=[requires(Verb.READ, Resource.GLASS)],
        responses=_WRONG,
    )
    def listed(request: Request) -> Response:
        return _json(
            [
                one
                for one in glasses.all_glass()
                if sees(request, Verb.READ, Resource.GLASS, Place(site=one.site))
            ]
        )

    @routes.post(
        "/glass/{glass_id}/review",
        tags=["emergency access"],
        summary="Review an emergency access; nobody reviews his own",
        dependencies=[requires(Verb.REVIEW, Resource.GLASS)],
        responses={409: {"description": "Reviewed before, or one's own", **PROBLEM}, **_GONE},
        openapi_extra=_takes(Verdict),
    )
    def review(glass_id: str, request: Request, body: Body) -> Response:
        verdict = _read(body, Verdict)
        if isinstance(verdict, Response):
            return verdict
        glass = glasses.glass(glass_id)
        if glass is None or not sees(request, Verb.REVIEW, Resource.GLASS, Place(site=glass.site)):
            return problem(404, "No such emergency access")
        by = caller_of(request).subject
        word = "justified" if verdict.justified else "unjustified"
        if not glasses.review_glass(glass.id, by, word, provider.now()):
            return problem(409, "Reviewed before, or one's own")
        watch(Happening(kind="glass", result=word, subject=glass.account, by=by, detail=glass.id))
        return _json(glasses.glass(glass.id))
