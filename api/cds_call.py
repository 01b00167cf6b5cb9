"""Read the body of a CDS Hooks call or feedback; whatever is wrong is refused with the path of the fault."""

from __future__ import annotations

import datetime as dt
import re
from typing import Literal, TypeVar

import msgspec

from adapters.emr.action import Action
from api.card_text import Language
from api.prefetch import SERVICES, CdsService
from api.problems import told
from engine.ports import FeedbackEntry

__all__ = ["Call", "Refused", "action_of", "language_of", "read_call", "read_feedback", "service_of"]

Node = dict[str, object]


class Refused(Exception):
    """A request that is answered 4xx: ``path`` points at the fault (``$.context.draftOrders``)."""

    def __init__(self, status: int, path: str, what: str, missing: tuple[tuple[str, str], ...] = ()) -> None:
        super().__init__(f"{path}: {what}")
        self.status, self.path, self.what, self.missing = status, path, what, missing


class Authorization(msgspec.Struct):
    """``fhirAuthorization`` of CDS Hooks 2.0; only the token is used."""

    access_token: str
    token_type: str = "Bearer"
    expires_in: int | float | None = None
    scope: str | None = None
    subject: str | None = None
    patient: str | None = None


class Call(msgspec.Struct, rename="camel"):
    """The body of ``POST /cds-services/{id}`` (CDS Hooks 2.0)."""

    hook: str
    hook_instance: str
    context: Node
    fhir_server: str | None = None
    fhir_authorization: Authorization | None = None
    prefetch: Node | None = None
    extension: object = None


_CALL = msgspec.json.Decoder(Call)
_TYPED_ID = re.compile(r"[A-Za-z]+/[^/\s]{1,200}\Z")
_BEARER = re.compile(r"[\x21-\x7e]{1,16384}\Z")


T = TypeVar("T")


def _decode(decoder: msgspec.json.Decoder[T], body: bytes) -> T:
    try:
        return decoder.decode(body)
    except msgspec.ValidationError as error:
        what, path = told(error)
        raise Refused(400, path, what) from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise Refused(400, "$", f"is not JSON: {error}") from None
    except RecursionError:
        raise Refused(400, "$", "is nested too deeply") from None


def read_call(body: bytes, service: CdsService) -> Call:
    """Return the call; raises :class:`Refused` with 400 for a fault and 422 for another service's hook."""
    call = _decode(_CALL, body)
    if call.hook != service.hook:
        raise Refused(422, "$.hook", f"is another hook; this service answers {service.hook}")
    if not call.hook_instance or len(call.hook_instance) > 200:
        raise Refused(400, "$.hookInstance", "is empty or longer than 200 characters")
    authorization = call.fhir_authorization
    if authorization is not None:
        if call.fhir_server is None:
            raise Refused(400, "$.fhirServer", "is required where fhirAuthorization is given")
        if not _BEARER.match(authorization.access_token):
            raise Refused(400, "$.fhirAuthorization.access_token", "is no bearer token")
    _check_context(call, service)
    return call


def _check_context(call: Call, service: CdsService) -> None:
    context = call.context
    patient = _string(context, "patientId", "$.context", required=True)
    user = _string(context, "userId", "$.context", required=True)
    if user is not None and not _TYPED_ID.match(user):
        raise Refused(400, "$.context.userId", "is not of the form Practitioner/123")
    _string(context, "encounterId", "$.context", required=service.hook == "encounter-discharge")
    for position, chosen in enumerate(_list(context, "selections") if service.hook == "order-select" else []):
        if not isinstance(chosen, str) or not _TYPED_ID.match(chosen):
            raise Refused(
                400, f"$.context.selections[{position}]", "is not of the form MedicationRequest/123"
            )
    sent = (call.prefetch or {}).get("patient")
    own = sent.get("id") if isinstance(sent, dict) and sent.get("resourceType") == "Patient" else None
    if isinstance(own, str) and own != patient:
        raise Refused(400, "$.prefetch.patient.id", "is another patient than context.patientId")


def _string(parent: Node, key: str, path: str, *, required: bool) -> str | None:
    value = parent.get(key)
    if value is None and not required and key not in parent:
        return None
    if not isinstance(value, str) or not value or len(value) > 256:
        what = "is missing" if key not in parent else "is not a non-empty string of at most 256 characters"
        raise Refused(400, f"{path}.{key}", what)
    return value


def _list(parent: Node, key: str) -> list[object]:
    value = parent.get(key)
    if not isinstance(value, list):
        raise Refused(400, f"$.context.{key}", "is missing" if key not in parent else "is not an array")
    return value


_ORDERS = {"order-select": "draftOrders", "order-sign": "draftOrders", "appointment-book": "appointments"}
_EVERYTHING = {"patient-view", "encounter-discharge"}


def action_of(call: Call, service: CdsService) -> Action:
    """Return what the user is about to do; a malformed draft is refused, never guessed at."""
    context = call.context
    drafts: list[tuple[Node, str]] = []
    resources: dict[str, Node] = {}
    key = _ORDERS.get(service.hook)
    if key is not None:
        for position, entry in enumerate(_bundle(context, key)):
            path = f"$.context.{key}.entry[{position}]"
            if not isinstance(entry, dict):
                raise Refused(400, path, "is not an object")
            resource = _resource(entry.get("resource"), f"{path}.resource")
            drafts.append((resource, path[len("$.context.") :] + ".resource"))
            if isinstance(url := entry.get("fullUrl"), str):
                resources[url] = resource
    if service.hook == "medication-verify":
        resource = _resource(context.get("medication"), "$.context.medication")
        if resource.get("resourceType") == "Bundle":
            raise Refused(400, "$.context.medication", "is a Bundle, not one MedicationRequest")
        drafts.append((resource, "medication"))
    chosen = context.get("selections") if service.hook == "order-select" else None
    encounter = context.get("encounterId")
    return Action(
        patient_id=str(context["patientId"]),
        visit_id=encounter if isinstance(encounter, str) else None,
        drafts=tuple(drafts),
        selections=frozenset(map(str, chosen)) if isinstance(chosen, list) else None,
        resources=resources,
        expects=frozenset(service.keys),
        everything=service.hook in _EVERYTHING,
    )


def _bundle(context: Node, key: str) -> list[object]:
    value = context.get(key)
    path = f"$.context.{key}"
    if not isinstance(value, dict):
        raise Refused(400, path, "is missing" if key not in context else "is not a Bundle")
    if value.get("resourceType") != "Bundle":
        raise Refused(400, f"{path}.resourceType", "is not Bundle")
    entries = value.get("entry", [])
    if not isinstance(entries, list):
        raise Refused(400, f"{path}.entry", "is not an array")
    return entries


def _resource(value: object, path: str) -> Node:
    if not isinstance(value, dict):
        raise Refused(400, path, "is not a resource")
    if not isinstance(value.get("resourceType"), str):
        raise Refused(400, f"{path}.resourceType", "is not a string")
    return value


def language_of(accepted: str, extension: object) -> Language:
    """Return the language of the answer: the request's extension, else Accept-Language, else Chinese."""
    stated = extension.get("com.ruleward.language") if isinstance(extension, dict) else None
    if isinstance(stated, str) and stated[:2].casefold() in {"zh", "en"}:
        return "en" if stated[:2].casefold() == "en" else "zh"
    if not accepted:
        return "zh"
    best: tuple[float, Language] = (0.0, "zh")
    for part in accepted[:500].split(","):
        tag, _, parameter = part.strip().partition(";")
        name, _, weight = parameter.strip().partition("=")
        try:
            quality = float(weight) if name.strip() == "q" else 1.0
        except ValueError:
            continue
        primary = tag.strip().casefold().partition("-")[0]
        if primary == "en" and quality > best[0]:
            best = (quality, "en")
        elif primary == "zh" and quality >= best[0]:
            best = (quality, "zh")
    return best[1]


class _Accepted(msgspec.Struct):
    id: str


class _Reason(msgspec.Struct):
    code: str
    system: str = ""
    display: str | None = None


class _Override(msgspec.Struct, rename="camel"):
    reason: _Reason | None = None
    user_comment: str | None = None


class _Outcome(msgspec.Struct, rename="camel"):
    card: str
    outcome: Literal["accepted", "overridden"]
    outcome_timestamp: str
    accepted_suggestions: list[_Accepted] | None = None
    override_reason: _Override | None = None


class _Feedback(msgspec.Struct):
    feedback: list[_Outcome]


_FEEDBACK = msgspec.json.Decoder(_Feedback)


def read_feedback(body: bytes, service_id: str) -> tuple[FeedbackEntry, ...]:
    """Return what the user did with cards (CDS Hooks 2.0 feedback); raises :class:`Refused`."""
    read = _decode(_FEEDBACK, body)
    entries = []
    for position, one in enumerate(read.feedback):
        path = f"$.feedback[{position}]"
        if not one.card or len(one.card) > 200:
            raise Refused(400, f"{path}.card", "is empty or longer than 200 characters")
        if one.outcome == "accepted" and one.accepted_suggestions is None:
            raise Refused(400, f"{path}.acceptedSuggestions", "is required where the outcome is accepted")
        override = one.override_reason
        reason = override.reason if override is not None else None
        entries.append(
            FeedbackEntry(
                service=service_id,
                card=one.card,
                outcome=one.outcome,
                outcome_at=_instant(one.outcome_timestamp, f"{path}.outcomeTimestamp"),
                accepted_suggestions=tuple(suggestion.id for suggestion in one.accepted_suggestions or ()),
                reason_code=reason.code if reason is not None else "",
                reason_system=reason.system if reason is not None else "",
                comment=(override.user_comment or "") if override is not None else "",
            )
        )
    return tuple(entries)


def _instant(written: str, path: str) -> dt.datetime:
    try:
        found = dt.datetime.fromisoformat(written)
        if "T" in written.upper() and found.tzinfo is not None:
            return found.astimezone(dt.UTC)
    except (ValueError, OverflowError):
        pass
    raise Refused(400, path, "is not a date and time with its offset, as in 2026-03-01T10:00:00Z")


def service_of(service_id: str) -> CdsService:
    """Return the service of this id; raises :class:`Refused` with 404."""
    service = SERVICES.get(service_id)
    if service is None:
        raise Refused(404, "$", "there is no such service; GET /cds-services lists them")
    return service
