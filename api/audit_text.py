"""Write audit entries for those who read them: rows for a spreadsheet, JSON lines, FHIR R4 AuditEvents."""

from __future__ import annotations

import csv
import datetime as dt
import io
from collections.abc import Iterable, Iterator
from typing import Any, Final

import msgspec
from cryptography.hazmat.primitives import hashes

from engine.audit import Kind, Link, Result

__all__ = ["Counted", "as_audit_event", "as_csv", "as_json", "as_ndjson", "safe_cell"]

# fmt: off
_COLUMNS: Final = (
    "index", "at", "kind", "who", "result", "source", "object", "patient", "payload", "detail", "sealed_note",
    "previous", "digest",
)
# fmt: on
# What spreadsheets take for a formula, in half and full width (OWASP: CSV injection).
_FORMULA: Final = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")
_DCM: Final = "http://dicom.nema.org/resources/ontology/DCM"
_TYPE: Final = "http://terminology.hl7.org/CodeSystem/audit-event-type"
_REST: Final = "http://hl7.org/fhir/restful-interaction"


def safe_cell(text: str) -> str:
    """Return what a spreadsheet shows instead of computing it."""
    return f"'{text}" if text.startswith(_FORMULA) else text


def as_json(link: Link) -> dict[str, str | int]:
    """Return an entry as plain words."""
    event = link.event
    return dict(
        zip(
            _COLUMNS,
            (
                link.index,
                event.at.astimezone(dt.UTC).isoformat(timespec="microseconds"),
                event.kind.value,
                event.who,
                event.result.value,
                event.source,
                event.object,
                event.patient,
                event.payload,
                event.detail,
                event.note.hex(),
                link.previous,
                link.digest,
            ),
            strict=True,
        )
    )


def as_ndjson(links: Iterable[Link]) -> Iterator[bytes]:
    """Give a line an entry: all that its digest covers, so that anybody can verify the chain."""
    for link in links:
        yield msgspec.json.encode(as_json(link)) + b"\n"


def as_csv(links: Iterable[Link]) -> Iterator[bytes]:
    """Give a header and a row an entry (RFC 4180), safe to open in a spreadsheet."""
    buffer = io.StringIO(newline="")
    writer = csv.writer(buffer)

    def taken() -> bytes:
        text = buffer.getvalue()
        buffer.seek(0)
        buffer.truncate()
        return text.encode()

    writer.writerow(_COLUMNS)
    yield taken()
    for link in links:
        writer.writerow(
            [value if isinstance(value, int) else safe_cell(value) for value in as_json(link).values()]
        )
        yield taken()


class Counted:
    """Pass pieces of a file on, and know their SM3 digest and the number of rows at the end."""

    def __init__(self, links: Iterable[Link]) -> None:
        self._links = links
        self._hasher = hashes.Hash(hashes.SM3())
        self.rows = 0

    def links(self) -> Iterator[Link]:
        """Give the entries, counting them."""
        for link in self._links:
            self.rows += 1
            yield link

    def pieces(self, pieces: Iterable[bytes]) -> Iterator[bytes]:
        """Give the pieces, hashing them."""
        for piece in pieces:
            self._hasher.update(piece)
            yield piece

    def digest(self) -> str:
        """Return the digest of all pieces; call it once, at the end."""
        return f"sm3:{self._hasher.finalize().hex()}"


def _dcm(code: str, display: str) -> dict[str, str]:
    return {"system": _DCM, "code": code, "display": display}


_ALERT: Final = _dcm("110113", "Security Alert")
_RECORD: Final = _dcm("110110", "Patient Record")
_OPERATION: Final = ({"system": _TYPE, "code": "rest"}, {"system": _REST, "code": "operation"}, "E")
_RULES: Final = (_ALERT, _dcm("110131", "Software Configuration"), "U")
_CHAIN: Final = (_ALERT, None, "E")
_LOGIN: Final = (_dcm("110114", "User Authentication"), _dcm("110122", "Login"), "E")
# type, subtype, action; DICOM PS3.16 D (audit codes), FHIR R4 AuditEvent
_CODES: Final[dict[Kind, tuple[dict[str, str], dict[str, str] | None, str]]] = {
    Kind.START: (_dcm("110100", "Application Activity"), _dcm("110120", "Application Start"), "E"),
    Kind.STOP: (_dcm("110100", "Application Activity"), _dcm("110121", "Application Stop"), "E"),
    Kind.LOGIN: _LOGIN,
    Kind.LOGIN_FAILED: _LOGIN,
    Kind.LOGOUT: (_dcm("110114", "User Authentication"), _dcm("110123", "Logout"), "E"),
    Kind.ACCESS_DENIED: (_ALERT, _dcm("110132", "Use of Restricted Function"), "E"),
    Kind.BREAK_GLASS: (_ALERT, _dcm("110127", "Emergency Override Started"), "E"),
    Kind.BREAK_GLASS_REVIEW: (_ALERT, _dcm("110127", "Emergency Override Started"), "R"),
    Kind.PERMISSION_CHANGE: (_ALERT, _dcm("110136", "Security Roles Changed"), "U"),
    Kind.CONFIGURATION: (_ALERT, _dcm("110129", "Security Configuration"), "U"),
    Kind.KEY_CHANGE: (_ALERT, _dcm("110129", "Security Configuration"), "U"),
    Kind.RULE_CREATE: (*_RULES[:2], "C"),
    Kind.RULE_APPROVE: _RULES,
    Kind.RULE_ACTIVATE: _RULES,
    Kind.RULE_REFUSE: _RULES,
    Kind.RULE_ROLLBACK: _RULES,
    Kind.CHECK: _OPERATION,
    Kind.FEEDBACK: (_RECORD, None, "C"),
    Kind.OVERRIDE: (_RECORD, None, "C"),
    Kind.VIEW: (_RECORD, None, "R"),
    Kind.SEARCH: (_dcm("110112", "Query"), None, "E"),
    Kind.EXPORT: (_dcm("110106", "Export"), None, "R"),
    Kind.SIGNATURE: (_RECORD, None, "U"),
    Kind.DISPENSING: (_RECORD, None, "U"),
    Kind.ADAPTER_CALL: _OPERATION,
    Kind.ADAPTER_FAILURE: _OPERATION,
    Kind.CLOCK_JUMP: _CHAIN,
    Kind.CHAIN_BROKEN: _CHAIN,
    Kind.BACKUP: (_dcm("110106", "Export"), None, "R"),
    Kind.RESTORE: (_dcm("110107", "Import"), None, "C"),
    Kind.ARCHIVE: (_dcm("110106", "Export"), None, "D"),
}
_OUTCOMES: Final = {Result.SUCCESS: "0", Result.DENIED: "4", Result.FAILURE: "8"}


def as_audit_event(link: Link, chain: str) -> dict[str, Any]:
    """Return an entry as a FHIR R4 AuditEvent; a patient stands there by the blind index only."""
    event = link.event
    kind, subtype, action = _CODES[event.kind]
    agent: dict[str, Any] = {"who": {"identifier": {"value": event.who or "unknown"}}, "requestor": True}
    if event.source:
        agent["network"] = {"address": event.source}
    entities: list[dict[str, Any]] = []
    if event.object:
        entities.append({"what": {"identifier": {"value": event.object}}})
        detail = msgspec.json.decode(event.detail, type=dict[str, str | int]) if event.detail else {}
        if detail:
            entities[0]["detail"] = [
                {"type": name, "valueString": str(value)} for name, value in detail.items()
            ]
    if event.patient:
        role = {
            "system": "http://terminology.hl7.org/CodeSystem/object-role",
            "code": "1",
            "display": "Patient",
        }
        entities.append({"what": {"identifier": {"value": event.patient}}, "role": role})
    made: dict[str, Any] = {
        "resourceType": "AuditEvent",
        "id": f"{chain}-{link.index}",
        "type": kind,
        "action": action,
        "recorded": event.at.astimezone(dt.UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "outcome": _OUTCOMES[event.result],
        "outcomeDesc": event.kind.value,
        "agent": [agent],
        "source": {
            "observer": {"display": "RuleWard"},
            "type": [{"system": "http://terminology.hl7.org/CodeSystem/security-source-type", "code": "4"}],
        },
    }
    if subtype:
        made["subtype"] = [subtype]
    if entities:
        made["entity"] = entities
    return made
