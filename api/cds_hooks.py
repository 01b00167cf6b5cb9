"""Answer CDS Hooks 2.0: discovery, six services and feedback, over the one decision service.

The hot path reads raw bytes and writes raw bytes; its shapes are stated for the API's description only.
"""

from __future__ import annotations

from collections.abc import Callable
from http import HTTPStatus
from time import perf_counter
from typing import Annotated, Protocol

import msgspec
from fastapi import APIRouter, Path, Request, Response

from adapters.emr.client import FhirReader, Server
from adapters.emr.mapping import Mapped, to_facts
from adapters.emr.settings import Settings
from adapters.emr.units import warm
from api.card_gaps import left_aside
from api.card_text import Language
from api.cards import Scene, answer_of
from api.cds_call import Call, Refused, action_of, language_of, read_call, read_feedback, service_of
from api.cds_schema import CALL, CARDS, DISCOVERY, FEEDBACK, PROBLEM, Schema
from api.prefetch import SERVICES, CdsService, Prefetched, gather, needs_fetch
from engine.decision import Decision, Stage, Words
from engine.errors import NotReady, NotRecorded, ReusedKey
from engine.facts import Facts
from engine.ports import Clock, FeedbackEntry
from engine.snapshot import Snapshot

__all__ = ["CORS_HEADERS", "CORS_METHODS", "Decides", "router"]

CORS_METHODS = ("GET", "POST", "OPTIONS")
CORS_HEADERS = ("Content-Type", "Authorization", "Accept-Language")
"""What the application's CORS middleware allows beside the site's list of origins."""

INTERFACE = "cds-hooks"

_ServiceId = Annotated[str, Path(json_schema_extra={"enum": list(SERVICES)})]

Render = Callable[[Decision, str, bool], tuple[bytes, tuple[str, ...]]]


class Decides(Protocol):
    """What is wanted of the decision service here."""

    def in_force(self) -> Snapshot: ...

    def digest(self, content: bytes, /) -> str: ...

    async def decide(  # noqa: PLR0913 - each is a different fact about one request
        self,
        snapshot: Snapshot,
        facts: Facts,
        *,
        stage: Stage,
        interface: str,
        key: str,
        request_digest: str,
        render: Render,
        patient: str,
        left_aside: tuple[str, ...],
    ) -> bytes: ...

    async def find(self, key: str, request_digest: str) -> bytes | None: ...

    async def feedback(self, entries: tuple[FeedbackEntry, ...], /) -> None: ...


class _Endpoint:
    """The services over one decision service."""

    def __init__(self, service: Decides, settings: Settings, reader: FhirReader, clock: Clock) -> None:
        self._service, self._settings, self._reader, self._clock = service, settings, reader, clock

    async def call(self, service_id: str, request: Request) -> Response:
        """Answer one service call."""
        began = perf_counter()
        try:
            service = service_of(service_id)
            body = await self._body(request)
            call = read_call(body, service)
            language = language_of(request.headers.get("accept-language", ""), call.extension)
            answer = await self._decide(service, call, body, language, began)
        except Refused as refused:
            return _refusal(refused)
        except NotReady:
            return _refusal(Refused(503, "$", "no release of rules is in force yet; nothing was checked"))
        except ReusedKey:
            return _refusal(Refused(409, "$.hookInstance", "already stands for another request"))
        return Response(answer, media_type="application/json")

    async def _decide(
        self, service: CdsService, call: Call, body: bytes, language: Language, began: float
    ) -> bytes:
        snapshot = self._service.in_force()
        action = action_of(call, service)
        digest = self._service.digest(body)
        key = f"cds:{service.id}:{language}:{call.hook_instance}:{digest}"
        sent = call.prefetch or {}
        server = _server(call)
        if needs_fetch(service, sent):
            # The record may have moved on since: a retry gets its first answer without another read.
            known = await self._service.find(key, digest)
            if known is not None:
                return known
        prefetched = await gather(service, call.context, sent, server, self._reader)
        self._require(service, prefetched)
        at = self._clock()
        mapped = to_facts(action, prefetched.data, snapshot.drugs, at, self._settings)
        scene = _scene(mapped, snapshot, language)

        def render(decision: Decision, decision_id: str, recorded: bool) -> tuple[bytes, tuple[str, ...]]:
            spent = (perf_counter() - began) * 1000
            return answer_of(decision, decision_id, scene, recorded=recorded, milliseconds=spent)

        return await self._service.decide(
            snapshot,
            mapped.facts,
            stage=service.stage,
            interface=INTERFACE,
            key=key,
            request_digest=digest,
            render=render,
            patient=action.patient_id or "",
            left_aside=left_aside(mapped.notes),
        )

    @staticmethod
    def _require(service: CdsService, prefetched: Prefetched) -> None:
        missing = tuple((gap.key, gap.reason) for gap in prefetched.gaps if gap.key in service.required)
        if missing:
            named = ", ".join(key for key, _ in missing)
            raise Refused(
                412, "$.prefetch", f"required data is neither sent nor obtainable: {named}", missing
            )

    async def feedback(self, service_id: str, request: Request) -> Response:
        """Record what a user did with cards. A card that we do not know is recorded too."""
        try:
            service = service_of(service_id)
            entries = read_feedback(await self._body(request), service.id)
            await self._service.feedback(entries)
        except Refused as refused:
            return _refusal(refused)
        except NotRecorded:
            return _refusal(Refused(503, "$", "feedback could not be recorded; send it again"))
        return Response(b"{}", media_type="application/json")

    async def _body(self, request: Request) -> bytes:
        limit = self._settings.max_request_bytes
        body = bytearray()
        async for chunk in request.stream():
            body += chunk
            if len(body) > limit:
                raise Refused(413, "$", f"is larger than {limit} bytes")
        return bytes(body)


def _server(call: Call) -> Server | None:
    if call.fhir_server is None:
        return None
    authorization = call.fhir_authorization
    return Server(call.fhir_server, None if authorization is None else authorization.access_token)


def _scene(mapped: Mapped, snapshot: Snapshot, language: Language) -> Scene:
    rules, facts = snapshot.rules, mapped.facts
    focus: set[str] = set()
    for collection in (facts.medications, facts.imaging, facts.procedures, facts.appointments):
        focus.update(item.id for item in collection or () if item.in_focus)

    def title(rule: str) -> Words | None:
        found = rules.get(rule)
        return None if found is None else found.title

    return Scene(
        language=language,
        notes=mapped.notes,
        removable=mapped.removable,
        focus=frozenset(focus),
        title=title,
    )


def _refusal(refused: Refused) -> Response:
    """Return the refusal as problem details (RFC 9457) that are an OperationOutcome as well."""
    code = {412: "required", 404: "not-found", 503: "transient", 413: "too-long", 409: "duplicate"}
    issues: list[dict[str, object]] = [
        {
            "severity": "error",
            "code": code.get(refused.status, "invalid"),
            "diagnostics": f"{path}: {what}",
            "expression": [path],
        }
        for path, what in (
            [(f"$.prefetch.{key}", reason) for key, reason in refused.missing]
            or [(refused.path, refused.what)]
        )
    ]
    body: dict[str, object] = {
        "type": "about:blank",
        "title": HTTPStatus(refused.status).phrase,
        "status": refused.status,
        "detail": f"{refused.path} {refused.what}",
        "path": refused.path,
        "resourceType": "OperationOutcome",
        "issue": issues,
    }
    if refused.missing:
        body["missing"] = [key for key, _ in refused.missing]
    headers = {"Retry-After": "1"} if refused.status == 503 else None
    return Response(msgspec.json.encode(body), refused.status, headers, "application/problem+json")


def _answers(schema: Schema, *statuses: int) -> dict[int | str, dict[str, object]]:
    answers: dict[int | str, dict[str, object]] = {
        200: {"description": "OK", "content": {"application/json": {"schema": schema}}}
    }
    for status in statuses:
        answers[status] = {
            "description": HTTPStatus(status).phrase,
            "content": {"application/problem+json": {"schema": PROBLEM}},
        }
    return answers


def _body_of(schema: Schema) -> dict[str, object]:
    return {"requestBody": {"required": True, "content": {"application/json": {"schema": schema}}}}


def router(service: Decides, settings: Settings, reader: FhirReader, clock: Clock) -> APIRouter:
    """Return the routes of CDS Hooks 2.0."""
    warm()
    endpoint = _Endpoint(service, settings, reader, clock)
    routes = APIRouter(tags=["CDS Hooks"])
    discovery = msgspec.json.encode({"services": [one.discovery() for one in SERVICES.values()]})

    @routes.get("/cds-services", responses=_answers(DISCOVERY), response_class=Response)
    async def discover() -> Response:
        """List the services and what they want to know beforehand."""
        return Response(discovery, media_type="application/json")

    @routes.post(
        "/cds-services/{service_id}",
        responses=_answers(CARDS, 400, 404, 409, 412, 413, 422, 503),
        response_class=Response,
        openapi_extra=_body_of(CALL),
    )
    async def call(service_id: _ServiceId, request: Request) -> Response:
        """Check an action and answer with cards."""
        return await endpoint.call(service_id, request)

    @routes.post(
        "/cds-services/{service_id}/feedback",
        responses=_answers({"type": "object"}, 400, 404, 413, 503),
        response_class=Response,
        openapi_extra=_body_of(FEEDBACK),
    )
    async def feedback(service_id: _ServiceId, request: Request) -> Response:
        """Take note of what became of cards."""
        return await endpoint.feedback(service_id, request)

    # A browser's preflight is answered by the CORS middleware; these are for whoever has no origin.
    def options(method: str) -> Callable[[], Response]:
        return lambda: Response(status_code=204, headers={"Allow": f"{method}, OPTIONS"})

    for path, method in (
        ("/cds-services", "GET"),
        ("/cds-services/{service_id}", "POST"),
        ("/cds-services/{service_id}/feedback", "POST"),
    ):
        routes.add_api_route(path, options(method), methods=["OPTIONS"], include_in_schema=False)
    return routes
