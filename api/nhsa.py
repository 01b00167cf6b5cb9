"""Answer the insurer's clients: NHSA 3101 (before), 3102 (during) and 3103 (feedback) in one envelope.

What cannot be read as a message at all is refused with a 4xx whose body is both problem details (RFC 9457)
and an envelope with ``infcode`` -1. A message that can be read but not be granted (another body under a used
``msgid``, a 3103 without its reason, no current visit) is answered 200 with ``infcode`` -1.
"""

from __future__ import annotations

import datetime as dt
import re
import uuid
from decimal import Decimal

import msgspec
from fastapi import APIRouter, Request, Response

from adapters.insurance.answer import Part, to_part, warning
from adapters.insurance.feedback import read_feedback
from adapters.insurance.mapping import Audit, AuditRequest, read_audit
from adapters.insurance.reading import Node, Note, ShapeError, root
from adapters.insurance.schema import MSGID, answer_schema, problem_schema, request_schema
from adapters.insurance.settings import Settings
from api.deciding import DecisionService, Render
from engine.decision import Decision
from engine.errors import FactsError, NotReady, NotRecorded, ReusedKey
from engine.ports import Clock
from engine.snapshot import Snapshot

__all__ = ["router"]

INFNOS = ("3101", "3102", "3103")
_DECODER = msgspec.json.Decoder(float_hook=Decimal)
_PARTS = msgspec.json.Decoder(Part, float_hook=Decimal)
_ENCODER = msgspec.json.Encoder(decimal_format="number")
_CANONICAL = msgspec.json.Encoder(decimal_format="number", order="deterministic")
_BYTE = re.compile(r" \(byte (\d+)\)")


class _Refused(Exception):
    """A message that is refused at the level of HTTP."""

    def __init__(self, status: int, path: str, what: str) -> None:
        super().__init__(what)
        self.status, self.path, self.what = status, path, what


def _stamp(moment: dt.datetime) -> str:
    return moment.strftime("%Y%m%d%H%M%S") + f"{moment.microsecond // 1000:03d}"


def _envelope(
    seed: str, times: tuple[str, str], region: str, *, error: str = "", warn: str = "", output: object = None
) -> dict[str, object]:
    """Return the answer's envelope; ``inf_refmsgid`` is region (6), time (14) and a sequence (10)."""
    place = region if re.fullmatch(r"\d{6}", region, re.ASCII) else "000000"
    sequence = uuid.uuid5(uuid.NAMESPACE_OID, seed).int % 10**10
    return {
        "infcode": -1 if error else 0,
        "inf_refmsgid": f"{place}{times[0][:14]}{sequence:010d}",
        "refmsg_time": times[0],
        "respond_time": times[1],
        "err_msg": error,
        "warn_msg": warn,
        "output": {} if output is None else output,
    }


class _Endpoint:
    """The transactions over one decision service."""

    def __init__(self, service: DecisionService, settings: Settings, clock: Clock) -> None:
        self._service, self._settings, self._clock = service, settings, clock

    async def answer(self, request: Request, allowed: tuple[str, ...]) -> Response:
        """Answer one message; every refusal is an envelope as well."""
        try:
            message, infno, msgid = self._read(await self._body(request), allowed)
        except _Refused as refused:
            return self._problem(refused)
        region = message.text("mdtrtarea_admvs") or ""
        try:
            body = await (self._feedback if infno == "3103" else self._audit)(message, infno, msgid, region)
        except ShapeError as error:
            return self._problem(_Refused(400, error.path, error.what))
        except NotReady:
            return self._problem(
                _Refused(503, "$", "No release of rules is in force yet; nothing was checked.")
            )
        except FactsError as error:
            body = self._refusal(msgid, region, f"{error.path}: {error.what}")
        except ReusedKey:
            body = self._refusal(
                msgid, region, f"msgid {msgid} already stands for a message of another content."
            )
        except NotRecorded:
            body = self._refusal(msgid, region, "The message could not be recorded; send it again.")
        return Response(_ENCODER.encode(body), media_type="application/json")

    async def _body(self, request: Request) -> bytes:
        limit = self._settings.max_bytes
        body = bytearray()
        async for chunk in request.stream():
            body += chunk
            if len(body) > limit:
                raise _Refused(413, "$", f"The message is larger than {limit} bytes.")
        return bytes(body)

    def _read(self, body: bytes, allowed: tuple[str, ...]) -> tuple[_Message, str, str]:
        try:
            value = _DECODER.decode(body)
        except RecursionError:
            raise _Refused(400, "$", "The message is nested too deeply.") from None
        except ValueError as error:  # malformed, cut off, not UTF-8, a number without end
            found = _BYTE.search(str(error))
            path = f"$ (byte {found[1]})" if found else "$"
            raise _Refused(400, path, "The message is no JSON in UTF-8.") from None
        try:
            envelope = root(value)
            infno = envelope.text("infno") or ""
            msgid = envelope.text("msgid") or ""
            if infno not in allowed:
                raise ShapeError("$.infno", f"must be one of {', '.join(allowed)}.")
            if not re.fullmatch(MSGID, msgid, re.ASCII):
                raise ShapeError("$.msgid", "is missing or not 1 to 64 letters and digits.")
        except ShapeError as error:
            raise _Refused(400, error.path, error.what) from None
        # what a retry may change (time, session, operator) is left out
        told = (infno, *map(envelope.raw, ("mdtrtarea_admvs", "insuplc_admdvs", "input")))
        try:
            digest = self._service.digest(_CANONICAL.encode(told))
        except RecursionError:
            raise _Refused(400, "$", "The message is nested too deeply.") from None
        return _Message(value, envelope, digest), infno, msgid

    async def _audit(self, message: _Message, infno: str, msgid: str, region: str) -> dict[str, object]:
        snapshot = self._service.in_force()
        asked = read_audit(message.value, infno, self._settings, snapshot.drugs.resolve)
        only = _restriction(snapshot, asked.rule_ids)
        sender = message.text("fixmedins_code") or ""
        if len(sender) > 64:
            raise FactsError("$.fixmedins_code", "is longer than 64 characters.")
        parts: list[Part] = []
        for position, audit in enumerate(asked.audits):
            answer = await self._service.decide(
                snapshot,
                audit.facts,
                stage=asked.stage,
                interface=f"nhsa-{infno}",
                key=f"nhsa {sender} {msgid} {position}",
                request_digest=message.digest,
                patient=audit.patient,
                only=only,
                render=self._render(audit, asked, only),
            )
            parts.append(_PARTS.decode(answer))
        return _combined(parts, asked.notes, region)

    def _render(self, audit: Audit, asked: AuditRequest, only: frozenset[str] | None) -> Render:
        def render(decision: Decision, decision_id: str, recorded: bool) -> tuple[bytes, tuple[str, ...]]:
            part, cards = to_part(decision, decision_id, recorded, audit, asked, self._settings, only)
            return _ENCODER.encode(part), cards

        return render

    async def _feedback(self, message: _Message, _infno: str, msgid: str, region: str) -> dict[str, object]:
        now = self._clock()
        entries = read_feedback(message.value, now)
        await self._service.feedback(entries)
        return _envelope(msgid, (_stamp(now), _stamp(now)), region, output={"accepted": len(entries)})

    def _refusal(self, msgid: str, region: str, error: str) -> dict[str, object]:
        now = _stamp(self._clock())
        return _envelope(msgid, (now, now), region, error=error)

    def _problem(self, refused: _Refused) -> Response:
        body = self._refusal("", "", f"{refused.path}: {refused.what}") | {
            "type": "about:blank",
            "title": {400: "Unreadable message", 413: "Message too large", 503: "Not ready"}[refused.status],
            "status": refused.status,
            "detail": refused.what,
            "path": refused.path,
        }
        return Response(_ENCODER.encode(body), refused.status, media_type="application/problem+json")


class _Message:
    """A decoded message, its outermost node and the digest of what it asks."""

    def __init__(self, value: object, envelope: Node, digest: str) -> None:
        self.value, self.digest, self.text = value, digest, envelope.text


def _restriction(snapshot: Snapshot, rule_ids: tuple[str, ...]) -> frozenset[str] | None:
    """Return the rules that the message names, by official code or by our id; an unknown id stays."""
    if not rule_ids:
        return None
    wanted: set[str] = set()
    for name in rule_ids:
        coded = {rule.id for rule in snapshot.rules.values() if rule.official_code == name.upper()}
        wanted |= coded or {name}
    return frozenset(wanted)


def _combined(parts: list[Part], notes: tuple[Note, ...], region: str) -> dict[str, object]:
    """Return one answer over all patients: it follows from the recorded parts, so a retry gets the same."""
    seed = " ".join(str(part.decision["decision_id"]) for part in parts)
    written = [{"path": note.path, "what": note.what} for note in notes]
    output = {
        "result": [node for part in parts for node in part.result],
        "notices": [node for part in parts for node in part.notices],
        "not_checked": [node for part in parts for node in part.not_checked],
        "decisions": [part.decision for part in parts],
        "notes": written + [note for part in parts for note in part.notes],
    }
    return _envelope(seed, (parts[0].at, parts[-1].at), region, warn=warning(parts), output=output)


def router(service: DecisionService, settings: Settings, clock: Clock) -> APIRouter:
    """Return the routes ``/nhsa`` (any of the three) and ``/nhsa/3101``, ``/nhsa/3102``, ``/nhsa/3103``."""
    endpoint = _Endpoint(service, settings, clock)
    routes = APIRouter(tags=["nhsa"])
    problem = {"content": {"application/problem+json": {"schema": problem_schema()}}}

    def add(path: str, allowed: tuple[str, ...], summary: str) -> None:
        async def handle(request: Request) -> Response:
            return await endpoint.answer(request, allowed)

        routes.add_api_route(
            path,
            handle,
            methods=["POST"],
            summary=summary,
            operation_id=f"nhsa{path.replace('/', '_').removeprefix('_nhsa')}",
            response_class=Response,
            responses={
                200: {
                    "description": "Answer; infcode 0 granted, -1 refused",
                    "content": {"application/json": {"schema": answer_schema()}},
                },
                400: {"description": "Unreadable message, with the path of the fault", **problem},
                413: {"description": "Message too large", **problem},
                503: {"description": "No release in force", **problem},
            },
            openapi_extra={
                "requestBody": {
                    "required": True,
                    "content": {"application/json": {"schema": request_schema(*allowed)}},
                }
            },
        )

    add("/nhsa", INFNOS, "NHSA 3101, 3102 or 3103, by infno")
    add("/nhsa/3101", ("3101",), "NHSA 3101 明细审核事前分析")
    add("/nhsa/3102", ("3102",), "NHSA 3102 明细审核事中分析")
    add("/nhsa/3103", ("3103",), "NHSA 3103 事前事中服务反馈")
    return routes
