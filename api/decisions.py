"""Check facts stated in RuleWard's own words, explain a rule's silence, and read a decision back."""

from __future__ import annotations

from typing import Any, TypeVar

import msgspec
from fastapi import APIRouter, Request, Response

from adapters.store.decisions import StoredDecisions
from api.access import requires, sees
from api.deciding import DecisionService
from api.problems import PROBLEM, problem, told
from engine.access import Place, Resource, Verb
from engine.decision import Decision, Stage
from engine.errors import NotReady, NotRecorded, ReusedKey
from engine.explain import explain
from engine.facts import Facts
from engine.ports import Clock

__all__ = ["router"]

T = TypeVar("T")
_LIMIT = 4 * 1024 * 1024
_SCHEMA = {
    "type": "object",
    "required": ["stage", "facts"],
    "properties": {
        "stage": {"enum": [str(stage) for stage in Stage]},
        "facts": {"type": "object", "description": "engine/facts.py: patient, visit, medications …"},
        "rules": {
            "type": "array",
            "items": {"type": "string"},
            "description": "Only these; all when left out",
        },
    },
}
_EXPLAIN_SCHEMA = {
    "type": "object",
    "required": ["rule", "facts"],
    "properties": {"rule": {"type": "string"}, "facts": {"type": "object"}},
}


class Asked(msgspec.Struct, forbid_unknown_fields=True):
    """The body of a check."""

    stage: Stage
    facts: Facts
    rules: tuple[str, ...] | None = None


class AskedWhy(msgspec.Struct, forbid_unknown_fields=True):
    """The body of a question why a rule fired or was silent."""

    rule: str
    facts: Facts


class TooLarge(Exception):
    """A body over the limit."""


async def _body(request: Request) -> bytes:
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > _LIMIT:
            raise TooLarge
    return bytes(body)


async def _read(request: Request, decoder: msgspec.json.Decoder[T]) -> tuple[T, bytes] | Response:
    try:
        body = await _body(request)
        return decoder.decode(body), body
    except TooLarge:
        return problem(413, "Body too large", f"More than {_LIMIT} bytes.", "$")
    except RecursionError:
        return problem(400, "Unreadable body", "Nested too deeply.", "$")
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        return problem(400, "Unreadable body", *told(error))


def _render(decision: Decision, decision_id: str, recorded: bool) -> tuple[bytes, tuple[str, ...]]:
    body = {
        "id": decision_id,
        "status": decision.status,
        "recorded": recorded,
        "release": decision.release,
        "at": decision.at,
        "findings": decision.findings,
        "not_checked": decision.not_checked,
        "required": sorted(decision.required),
        "ran": sorted(decision.ran),
    }
    return msgspec.json.encode(body), ()


def router(service: DecisionService, log: StoredDecisions, clock: Clock, site: str = "") -> APIRouter:
    """Return ``POST /decisions``, ``POST /decisions/explain`` and ``GET /decisions/{id}``.

    ``site`` is taken for that of decisions which were recorded without one.
    """
    routes = APIRouter(prefix="/decisions", tags=["decisions"])
    asked = msgspec.json.Decoder(Asked)
    asked_why = msgspec.json.Decoder(AskedWhy)
    refusals: dict[int | str, dict[str, Any]] = {
        400: {"description": "Unreadable body, with the path of the fault", **PROBLEM},
        413: {"description": "Body too large", **PROBLEM},
        503: {"description": "No release in force", **PROBLEM},
    }

    @routes.post(
        "",
        summary="Check facts",
        dependencies=[requires(Verb.CHECK, Resource.FACTS, demo=True)],
        responses={409: {"description": "Idempotency-Key of another request", **PROBLEM}, **refusals},
        openapi_extra=_takes(_SCHEMA, key=True),
    )
    async def decide(request: Request) -> Response:
        read = await _read(request, asked)
        if isinstance(read, Response):
            return read
        wanted, body = read
        stated = request.headers.get("idempotency-key", "")
        if len(stated) > 200:
            return problem(400, "Idempotency-Key too long", "At most 200 characters.", "Idempotency-Key")
        digest = service.digest(body)
        key = f"decisions {stated}" if stated else f"decisions {digest} {clock().isoformat()}"
        try:
            answer = await service.decide(
                service.in_force(),
                wanted.facts,
                stage=wanted.stage,
                interface="decisions",
                key=key,
                request_digest=digest,
                patient=wanted.facts.patient.id or "",
                only=None if wanted.rules is None else frozenset(wanted.rules),
                render=_render,
            )
        except NotReady as error:
            return problem(503, "Not ready", f"Nothing was checked: {error}.")
        except ReusedKey:
            return problem(409, "Idempotency-Key of another request", "Use a new key.", "Idempotency-Key")
        return Response(answer, media_type="application/json")

    @routes.post(
        "/explain",
        summary="Why a rule fired, was silent or could not be checked",
        dependencies=[requires(Verb.CHECK, Resource.FACTS, demo=True)],
        responses={404: {"description": "No such rule in force", **PROBLEM}, **refusals},
        openapi_extra=_takes(_EXPLAIN_SCHEMA),
    )
    async def why(request: Request) -> Response:
        read = await _read(request, asked_why)
        if isinstance(read, Response):
            return read
        wanted, _ = read
        try:
            snapshot = service.in_force()
        except NotReady as error:
            return problem(503, "Not ready", f"{error}.")
        if wanted.rule not in snapshot.checks:
            return problem(404, "No such rule in force", "It is not in the release.", "$.rule")
        told = explain(snapshot, wanted.facts, clock(), wanted.rule)
        body = {"rule": wanted.rule, "release": snapshot.release, "explanations": told}
        return Response(msgspec.json.encode(body), media_type="application/json")

    @routes.get(
        "/{decision_id}",
        summary="A decision as it was recorded",
        dependencies=[requires(Verb.READ, Resource.DECISION, demo=True)],
        responses={
            404: {"description": "No such decision", **PROBLEM},
            503: {"description": "The decision log cannot be read", **PROBLEM},
        },
    )
    async def read_back(decision_id: str, request: Request) -> Response:
        try:
            entry = await log.get(decision_id)
        except NotRecorded as error:
            return problem(503, "The decision log cannot be read", str(error))
        if entry is None:
            return problem(404, "No such decision")
        place = Place(entry.site or site, entry.department)
        if not sees(request, Verb.READ, Resource.DECISION, place):
            return problem(404, "No such decision")
        body = {
            "id": entry.id,
            "interface": entry.interface,
            "stage": entry.stage,
            "at": entry.at,
            "release": entry.release,
            "facts_digest": entry.facts_digest,
            "status": entry.status,
            "trace": msgspec.Raw(entry.trace),
        }
        return Response(msgspec.json.encode(body), media_type="application/json")

    return routes


def _takes(schema: dict[str, Any], *, key: bool = False) -> dict[str, Any]:
    extra: dict[str, Any] = {
        "requestBody": {"required": True, "content": {"application/json": {"schema": schema}}}
    }
    if key:
        header = {"name": "Idempotency-Key", "in": "header", "schema": {"type": "string", "maxLength": 200}}
        extra["parameters"] = [header]
    return extra
