"""Declare what each CDS service wants beforehand, and gather it: sent, fetched, or named as missing."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

import msgspec

from adapters.emr.client import FhirReader, Gap, Server, fill_template
from engine.decision import Stage

__all__ = ["SERVICES", "CdsService", "Prefetched", "gather", "needs_fetch"]

_TEMPLATES = {
    "patient": "Patient/{{context.patientId}}",
    "encounter": "Encounter/{{context.encounterId}}",
    "allergies": "AllergyIntolerance?patient={{context.patientId}}",
    "conditions": "Condition?patient={{context.patientId}}",
    "meds": "MedicationRequest?patient={{context.patientId}}&status=active",
    "medStatements": "MedicationStatement?patient={{context.patientId}}&status=active",
    "labs": "Observation?patient={{context.patientId}}&category=laboratory&_sort=-date&_count=50",
    "vitals": "Observation?patient={{context.patientId}}&category=vital-signs&_sort=-date&_count=20",
    "coverage": "Coverage?beneficiary={{context.patientId}}&status=active",
    "imaging": "ImagingStudy?patient={{context.patientId}}&_sort=-started&_count=20",
}
_READS = frozenset({"patient", "encounter"})
_NEWEST_FIRST = frozenset({"labs", "vitals", "imaging"})
"""Searches that ask for the newest only: their further pages are not wanted."""


class CdsService(msgspec.Struct, frozen=True):
    """One CDS service: its hook, its stage and what it cannot do without."""

    hook: str
    stage: Stage
    title: str
    description: str
    keys: tuple[str, ...]
    required: frozenset[str]

    @property
    def id(self) -> str:
        """The last part of its URL."""
        return f"ruleward-{self.hook}"

    def discovery(self) -> dict[str, object]:
        """Return its entry of ``GET /cds-services`` (CDS Hooks 2.0)."""
        return {
            "hook": self.hook,
            "id": self.id,
            "title": self.title,
            "description": self.description,
            "prefetch": {key: _TEMPLATES[key] for key in self.keys},
            "usageRequirements": (
                "Send null for a key without data. Required: " + ", ".join(sorted(self.required))
                + "; what else is missing is reported as not checked."
            ),
        }  # fmt: skip


_CLINICAL = (
    "patient", "encounter", "allergies", "conditions", "meds", "medStatements", "labs", "vitals", "coverage",
    "imaging",
)  # fmt: skip
_DRUGS = frozenset({"patient", "meds"})
_PATIENT = frozenset({"patient"})
SERVICES: dict[str, CdsService] = {
    service.id: service
    for service in (
        CdsService(
            "patient-view", Stage.PATIENT_VIEW, "患者概览 Patient overview",
            "Checks what is on record when a chart is opened: medicines, allergies, conditions.",
            _CLINICAL, _PATIENT,
        ),
        CdsService(
            "order-select", Stage.ORDER_SELECT, "开立医嘱 Order selection",
            "Checks the selected draft orders against each other and the patient's record.",
            _CLINICAL, _DRUGS,
        ),
        CdsService(
            "order-sign", Stage.ORDER_SIGN, "签署医嘱 Order signing",
            "Checks all draft orders for interactions, doses, allergies, contraindications.",
            _CLINICAL, _DRUGS,
        ),
        CdsService(
            "medication-verify", Stage.MEDICATION_VERIFY, "药师审方 Pharmacist verification",
            "Checks one medication order for the pharmacist who verifies it.", _CLINICAL, _DRUGS,
        ),
        CdsService(
            "encounter-discharge", Stage.ENCOUNTER_DISCHARGE, "出院 Discharge",
            "Checks the record and the medicines of a patient who leaves.", _CLINICAL, _DRUGS,
        ),
        CdsService(
            "appointment-book", Stage.APPOINTMENT_BOOK, "预约 Appointment booking",
            "Checks proposed appointments.", ("patient", "encounter", "conditions", "coverage"), _PATIENT,
        ),
    )
}  # fmt: skip
"""CDS services by id, in the order of discovery."""


class Prefetched(msgspec.Struct, frozen=True):
    """Decoded JSON by key, and why keys of this service are not among them."""

    data: dict[str, object]
    gaps: tuple[Gap, ...]


def needs_fetch(service: CdsService, sent: Mapping[str, object]) -> bool:
    """Say whether anything is left to read from the FHIR server."""
    return any(_wanted(key, sent) for key in service.keys) or any(
        _has_more(key, sent.get(key)) for key in service.keys
    )


def _wanted(key: str, sent: Mapping[str, object]) -> bool:
    return key not in sent or _failed(sent[key])


def _failed(value: object) -> bool:
    """Say whether the client sent its server's error instead of data."""
    return isinstance(value, dict) and value.get("resourceType") == "OperationOutcome"


def _has_more(key: str, value: object) -> bool:
    links = value.get("link") if isinstance(value, dict) and key not in _NEWEST_FIRST else None
    return isinstance(links, list) and any(
        isinstance(link, dict) and link.get("relation") == "next" for link in links
    )


async def gather(
    service: CdsService,
    context: Mapping[str, object],
    sent: Mapping[str, object],
    server: Server | None,
    reader: FhirReader,
) -> Prefetched:
    """Return what was sent, completed by what the FHIR server gives; what neither has is a gap.

    ``null`` is the client's word for *no data* and is kept. An OperationOutcome is fetched again; if that
    fails too it stays and means unknown. Required keys are among the gaps too: the caller answers 412.
    """
    data = {key: sent[key] for key in service.keys if key in sent}
    queries: dict[str, str] = {}
    gaps: list[Gap] = []
    for key in service.keys:
        if not _wanted(key, sent):
            continue
        query = fill_template(_TEMPLATES[key], context)
        if query is None:
            if key == "encounter" and "encounterId" not in context:
                data[key] = None  # the caller is in no encounter: there is nothing to read
            else:
                gaps.append(Gap(key, "the context does not say whose"))
        elif server is None:
            gaps.append(Gap(key, "not in prefetch, and no fhirServer is given"))
        else:
            queries[key] = query
    if server is not None:
        paged = {key: data[key] for key in service.keys if key in data and _has_more(key, data[key])}
        fetching = asyncio.create_task(reader.fetch(server, queries))
        pages = await asyncio.gather(*(reader.complete(server, value) for value in paged.values()))
        found, failed = await fetching
        data.update(found)
        data.update(zip(paged, pages, strict=True))
        gaps += failed
    return Prefetched(data, tuple(gap for gap in gaps if gap.key not in data))
