"""State the shapes of CDS Hooks 2.0 as JSON schema, for the API's description."""

from __future__ import annotations

__all__ = ["CALL", "CARDS", "DISCOVERY", "FEEDBACK", "PROBLEM", "Schema"]

Schema = dict[str, object]

_TEXT: Schema = {"type": "string"}
_OBJECT: Schema = {"type": "object"}


def _object(required: tuple[str, ...], **properties: Schema) -> Schema:
    return {"type": "object", "required": list(required), "properties": properties}


def _list(items: Schema) -> Schema:
    return {"type": "array", "items": items}


def _optional(schema: Schema) -> Schema:
    return {"anyOf": [schema, {"type": "null"}]}


_CODING = _object(("code", "system"), code=_TEXT, system=_TEXT, display=_TEXT)

DISCOVERY = _object(
    ("services",),
    services=_list(
        _object(
            ("hook", "description", "id"),
            hook=_TEXT,
            id=_TEXT,
            title=_TEXT,
            description=_TEXT,
            prefetch={"type": "object", "additionalProperties": _TEXT},
            usageRequirements=_TEXT,
        )
    ),
)
"""``GET /cds-services``."""

CALL = _object(
    ("hook", "hookInstance", "context"),
    hook=_TEXT,
    hookInstance={"type": "string", "minLength": 1, "maxLength": 200},
    fhirServer=_optional(_TEXT),
    fhirAuthorization=_optional(_object(("access_token",), access_token=_TEXT, token_type=_TEXT)),
    context=_object(
        ("userId", "patientId"),
        userId={"type": "string", "pattern": "^[A-Za-z]+/[^/\\s]{1,200}$"},
        patientId={"type": "string", "minLength": 1, "maxLength": 256},
        encounterId={"type": "string", "minLength": 1, "maxLength": 256},
        selections=_list(_TEXT),
        draftOrders={**_OBJECT, "description": "Bundle of draft orders; order-select, order-sign"},
        medication={**_OBJECT, "description": "One MedicationRequest; medication-verify"},
        appointments={**_OBJECT, "description": "Bundle of proposed Appointments; appointment-book"},
    ),
    prefetch=_optional(_OBJECT),
)
"""``POST /cds-services/{id}``. What a hook's context needs depends on the hook."""

_ACTION = _object(("type", "description"), type=_TEXT, description=_TEXT, resourceId=_TEXT)
_CARD = _object(
    ("summary", "indicator", "source"),
    uuid=_TEXT,
    summary={"type": "string", "minLength": 1, "maxLength": 139},
    detail=_TEXT,
    indicator={"enum": ["info", "warning", "critical"]},
    source=_object(("label",), label=_TEXT, url=_TEXT, topic=_CODING),
    suggestions=_list(_object(("label",), label=_TEXT, uuid=_TEXT, actions=_list(_ACTION))),
    selectionBehavior={"enum": ["at-most-one", "any"]},
    overrideReasons=_list(_CODING),
    extension=_OBJECT,
)
CARDS = _object(("cards",), cards=_list(_CARD), extension=_OBJECT)
"""The answer of a service."""

FEEDBACK = _object(
    ("feedback",),
    feedback=_list(
        _object(
            ("card", "outcome", "outcomeTimestamp"),
            card={"type": "string", "minLength": 1, "maxLength": 200},
            outcome={"enum": ["accepted", "overridden"]},
            outcomeTimestamp={"type": "string", "format": "date-time"},
            acceptedSuggestions=_optional(_list(_object(("id",), id=_TEXT))),
            overrideReason=_optional(_OBJECT),
        )
    ),
)
"""``POST /cds-services/{id}/feedback``."""

PROBLEM = _object(
    ("title", "status", "resourceType", "issue"),
    type=_TEXT,
    title=_TEXT,
    status={"type": "integer"},
    detail=_TEXT,
    path=_TEXT,
    missing=_list(_TEXT),
    resourceType={"const": "OperationOutcome"},
    issue=_list(_OBJECT),
)
"""A refusal: problem details (RFC 9457) that are a FHIR OperationOutcome as well."""
