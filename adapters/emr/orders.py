"""Turn ServiceRequest, ImagingStudy and Appointment into procedures, imaging and appointments."""

from __future__ import annotations

import datetime as dt
import re

from adapters.emr.fhir import Node, Notes, codings, day, label, moment, node, nodes, reference, text
from engine.facts import Appointment, Imaging, Procedure

__all__ = ["is_imaging", "read_appointment", "read_imaging", "read_procedure", "read_study"]

_IMAGING_CATEGORY = {"363679005", "RAD", "imaging"}
_MODALITIES: tuple[tuple[re.Pattern[str], str], ...] = (
    (re.compile(r"pet"), "PT"),
    (re.compile(r"钼靶|mammogra"), "MG"),
    (re.compile(r"超声|b超|彩超|ultraso|doppler|(?<![a-z])us(?![a-z])"), "US"),
    (re.compile(r"核磁|磁共振|(?<![a-z])mr(?:i|a)?(?![a-z])|magnetic resonance"), "MR"),
    (re.compile(r"(?<![a-z])cta?(?![a-z])|断层|computed tomography"), "CT"),
    (re.compile(r"血管造影|angiogra|(?<![a-z])dsa(?![a-z])"), "XA"),
    (re.compile(r"x线|x光|x-?ray|胸片|平片|(?<![a-z])dr(?![a-z])|radiograph"), "DX"),
    (re.compile(r"显像|scintigra|spect|(?<![a-z])nm(?![a-z])"), "NM"),
)
_WITHOUT = re.compile(r"平扫|不增强|without (?:iv )?contrast|non-?contrast|w/?o contrast")
_BOTH = re.compile(r"平扫[加+及和与]|[加+及和与]增强|with and without")
_WITH = re.compile(r"增强|造影|with (?:iv )?contrast|contrast|(?<![a-z])cta(?![a-z])")


def _modality(written: str) -> str | None:
    said = written.casefold()
    return next((modality for pattern, modality in _MODALITIES if pattern.search(said)), None)


def _contrast(written: str) -> bool | None:
    said = written.casefold()
    if _BOTH.search(said):
        return True
    if _WITHOUT.search(said):
        return False
    return True if _WITH.search(said) else None


def is_imaging(resource: Node, notes: Notes, path: str) -> bool:
    """Say whether a ServiceRequest asks for imaging: by its category, else by the name of what is asked."""
    for category in nodes(resource, "category", notes, path):
        said = label(category, notes, path) or ""
        codes = {code for _, code, _ in codings(category, notes, path)}
        if codes & _IMAGING_CATEGORY or re.search(r"影像|放射|imaging|radiology", said, re.IGNORECASE):
            return True
        if codes:
            return False
    return _modality(label(node(resource, "code", notes, path), notes, path) or "") is not None


def _when(resource: Node, at: dt.datetime, notes: Notes, path: str, *, draft: bool) -> dt.date | None:
    zone = at.tzinfo
    for key in ("occurrenceDateTime", "authoredOn"):
        found = day(resource, key, zone, notes, path)
        if found is not None:
            return found
    return at.date() if draft else None


def read_imaging(
    resource: Node, item_id: str, path: str, at: dt.datetime, notes: Notes, *, in_focus: bool
) -> Imaging:
    """Return the study that a ServiceRequest asks for."""
    concept = node(resource, "code", notes, path)
    name = label(concept, notes, path)
    sites = nodes(resource, "bodySite", notes, path)
    return Imaging(
        id=item_id,
        in_focus=in_focus,
        code=next((code for _, code, _ in codings(concept, notes, path) if code), None),
        name=name,
        modality=_modality(name or ""),
        body_site=next((site for one in sites if (site := label(one, notes, path))), None),
        contrast=_contrast(name or ""),
        day=_when(resource, at, notes, path, draft=True),
    )


def read_procedure(
    resource: Node, item_id: str, path: str, at: dt.datetime, notes: Notes, *, in_focus: bool
) -> Procedure:
    """Return the procedure that a ServiceRequest asks for."""
    concept = node(resource, "code", notes, path)
    return Procedure(
        id=item_id,
        in_focus=in_focus,
        code=next((code for _, code, _ in codings(concept, notes, path) if code), None),
        name=label(concept, notes, path),
        day=_when(resource, at, notes, path, draft=True),
    )


def read_study(resource: Node, item_id: str, path: str, at: dt.datetime, notes: Notes) -> Imaging | None:
    """Return an examination already made; ``None`` for one entered in error or cancelled."""
    if resource.get("status") in ("entered-in-error", "cancelled"):
        return None
    procedures = nodes(resource, "procedureCode", notes, path)
    name = text(resource, "description", notes, path) or next(
        (said for one in procedures if (said := label(one, notes, path))), None
    )
    series = nodes(resource, "series", notes, path)
    kinds = [*nodes(resource, "modality", notes, path), *(
        kind for one in series if (kind := node(one, "modality", notes, path)) is not None)]  # fmt: skip
    sites = (node(one, "bodySite", notes, path) for one in series)
    return Imaging(
        id=item_id,
        in_focus=False,
        code=next((code for one in procedures for _, code, _ in codings(one, notes, path) if code), None),
        name=name,
        modality=next((code for one in kinds if (code := text(one, "code", notes, path))), None),
        body_site=next(
            (display for one in sites if one and (display := text(one, "display", notes, path))), None
        ),
        contrast=_contrast(name or ""),
        day=day(resource, "started", at.tzinfo, notes, path),
    )


def read_appointment(
    resource: Node, item_id: str, path: str, zone: dt.tzinfo | None, notes: Notes, *, in_focus: bool
) -> Appointment:
    """Return one proposed or booked appointment."""
    kinds = nodes(resource, "serviceType", notes, path)
    specialties = nodes(resource, "specialty", notes, path)
    doctor: str | None = None
    for participant in nodes(resource, "participant", notes, path):
        who = reference(participant, "actor", notes, f"{path}.participant")
        if who is not None and who.startswith("Practitioner"):
            doctor = who
    return Appointment(
        id=item_id,
        in_focus=in_focus,
        service=next((said for one in kinds if (said := label(one, notes, path))), None),
        department=next((said for one in specialties if (said := label(one, notes, path))), None),
        doctor=doctor,
        status=text(resource, "status", notes, path),
        start=moment(resource, "start", zone, notes, path),
        end=moment(resource, "end", zone, notes, path),
    )
