"""Turn Patient, Encounter, AllergyIntolerance, Condition and Coverage into facts."""

from __future__ import annotations

import datetime as dt
import re
from typing import Literal

from adapters.emr.fhir import (
    Node,
    NoteKind,
    Notes,
    codings,
    day,
    days_possible,
    label,
    moment,
    node,
    nodes,
    number,
    reference,
    text,
)
from adapters.emr.product import Drugs, drug_codes
from adapters.emr.settings import Settings
from engine.facts import Allergy, Diagnosis, Patient, Visit

__all__ = [
    "main_condition",
    "read_allergies",
    "read_coverage",
    "read_diagnosis",
    "read_patient",
    "read_visit",
]

_Sex = Literal["male", "female", "other"]
_SEX: dict[str, _Sex] = {"male": "male", "female": "female", "other": "other", "男": "male", "女": "female"}
_Kind = Literal["outpatient", "emergency", "inpatient", "day_surgery", "pharmacy", "internet"]
_CLASS: dict[str, _Kind] = {
    "AMB": "outpatient", "HH": "outpatient", "FLD": "outpatient", "EMER": "emergency", "IMP": "inpatient",
    "ACUTE": "inpatient", "NONAC": "inpatient", "SS": "day_surgery", "VR": "internet",
    "outpatient": "outpatient", "ambulatory": "outpatient", "emergency": "emergency",
    "inpatient": "inpatient", "门诊": "outpatient", "急诊": "emergency", "住院": "inpatient",
    "日间手术": "day_surgery", "互联网": "internet",
}  # fmt: skip
_Insurance = Literal["employee", "resident", "retired_cadre", "maternity", "work_injury", "self_pay"]
_INSURANCE: dict[str, _Insurance] = {
    "310": "employee", "340": "retired_cadre", "390": "resident", "391": "resident", "392": "resident",
    "410": "work_injury", "510": "maternity", "pay": "self_pay", "职工医保": "employee",
    "职工基本医疗保险": "employee", "城镇职工基本医疗保险": "employee", "居民医保": "resident",
    "城乡居民基本医疗保险": "resident", "离休": "retired_cadre", "生育保险": "maternity",
    "工伤保险": "work_injury", "自费": "self_pay",
}  # fmt: skip


def read_patient(
    resource: Node | None, patient_id: str | None, at: dt.datetime, notes: Notes, path: str
) -> Patient:
    """Return sex, date of birth and, where the date is partial, only those ages that it still fixes."""
    found = Patient(id=patient_id)
    if resource is None:
        return found
    sex = text(resource, "gender", notes, path)
    if sex is not None:
        found.sex = _SEX.get(sex.casefold())
        if found.sex is None and sex.casefold() != "unknown":
            notes.add(NoteKind.MALFORMED, f"{path}.gender", "is none of male, female, other, unknown")
    born = text(resource, "birthDate", notes, path)
    if born is None:
        return found
    possible = days_possible(born[:10])
    if possible is None or possible[0] > at.date():
        notes.add(
            NoteKind.MALFORMED, f"{path}.birthDate", "is not a date" if possible is None else "lies ahead"
        )
        return found
    first, last = possible
    if first == last:
        found.birth_date = first
        return found
    # A year or a month leaves the age open unless the youngest and the oldest possible are of one age.
    youngest, oldest = _months(min(last, at.date()), at.date()), _months(first, at.date())
    if youngest // 12 == oldest // 12:
        found.age_years = float(youngest // 12)
    if youngest == oldest:
        found.age_months = float(youngest)
    notes.add(NoteKind.SCOPE, f"{path}.birthDate", "is not precise to the day")
    return found


def _months(birth: dt.date, on: dt.date) -> int:
    return (on.year - birth.year) * 12 + on.month - birth.month - (on.day < birth.day)


def read_visit(
    resource: Node | None, visit_id: str | None, zone: dt.tzinfo | None, notes: Notes, path: str
) -> Visit:
    """Return the visit under decision from its Encounter."""
    found = Visit(id=visit_id)
    if resource is None:
        return found
    found.id = text(resource, "id", notes, path) or visit_id
    kind = node(resource, "class", notes, path)
    if kind is not None:
        said = (text(kind, "code", notes, path), text(kind, "display", notes, path))
        found.kind = next((_CLASS[word] for word in said if word in _CLASS), None)
    period = node(resource, "period", notes, path)
    if period is not None:
        found.start = moment(period, "start", zone, notes, f"{path}.period")
        found.end = moment(period, "end", zone, notes, f"{path}.period")
    service = node(resource, "serviceType", notes, path)
    found.department = next(
        (code for _, code, _ in codings(service, notes, path) if code), label(service, notes, path)
    )
    provider = node(resource, "serviceProvider", notes, path)
    identifier = node(provider, "identifier", notes, path) if provider is not None else None
    if identifier is not None:
        found.hospital = text(identifier, "value", notes, path)
    for participant in nodes(resource, "participant", notes, path):
        who = reference(participant, "individual", notes, f"{path}.participant")
        if who is not None and who.startswith("Practitioner/"):
            found.doctor = who
            break
    return found


def read_coverage(resources: list[tuple[Node, str]], visit: Visit, notes: Notes) -> None:
    """Fill in the insurance type of the first active Coverage that names one (NHSA insutype or words)."""
    for resource, path in resources:
        if resource.get("status") not in (None, "active"):
            continue
        kind = node(resource, "type", notes, path)
        words = [word for _, code, display in codings(kind, notes, path) for word in (code, display) if word]
        said = label(kind, notes, path)
        found = next((_INSURANCE[word] for word in (*words, said or "") if word in _INSURANCE), None)
        if found is not None:
            visit.insurance = found
            return


def _status(resource: Node, key: str, notes: Notes, path: str) -> str | None:
    concept = node(resource, key, notes, path)
    return next((code for _, code, _ in codings(concept, notes, f"{path}.{key}") if code), None)


_NO_ALLERGY = {"716186003", "409137002", "no-known-allergies", "no-known-medication-allergies"}
_NO_OTHER_ALLERGY = {"428607008", "429625007", "no-known-food-allergies", "no-known-environmental-allergies"}
_NOT_ASKED = {"no-allergy-info", "1631000175102", "unknown", "asked-unknown", "not-asked"}
_DENIED = {
    "无", "否认", "否认过敏史", "无过敏史", "无已知过敏", "无药物过敏", "无药物过敏史", "否认药物过敏史",
    "nka", "nkda", "no known allergies", "no known allergy", "no known drug allergy",
    "no known drug allergies",
}  # fmt: skip
_Severity = Literal["mild", "moderate", "severe"]
_SEVERITY: dict[str, _Severity] = {"mild": "mild", "moderate": "moderate", "severe": "severe"}


def read_allergies(
    resources: list[tuple[Node, str]], drugs: Drugs, settings: Settings, notes: Notes
) -> tuple[Allergy, ...] | None:
    """Return the allergies; ``()`` only where *no known allergy* is stated, ``None`` where nothing is."""
    systems = dict(settings.code_systems)
    found: list[Allergy] = []
    none_stated = False
    for resource, path in resources:
        verified = _status(resource, "verificationStatus", notes, path)
        if verified == "entered-in-error":
            continue
        concept = node(resource, "code", notes, path)
        coded = codings(concept, notes, f"{path}.code")
        codes = {code for _, code, _ in coded}
        said = label(concept, notes, f"{path}.code")
        if codes & _NO_ALLERGY or (said is not None and said.casefold().strip(" .。") in _DENIED):
            none_stated = none_stated or verified != "refuted"
            continue
        if codes & _NO_OTHER_ALLERGY:
            continue
        if codes & _NOT_ASKED:
            notes.add(NoteKind.SCOPE, path, "allergies were not asked for")
            return None if not found else tuple(found)
        found.append(_allergy(resource, path, said, coded, verified, drugs, systems, notes))
    if found or none_stated:
        return tuple(found)
    if settings.empty_allergies_mean_none:
        return ()
    notes.add(
        NoteKind.NOT_OBTAINED, "allergies", "no allergy and no statement that there is none is recorded"
    )
    return None


def _allergy(
    resource: Node,
    path: str,
    said: str | None,
    coded: list[tuple[str, str, str]],
    verified: str | None,
    drugs: Drugs,
    systems: dict[str, str],
    notes: Notes,
) -> Allergy:
    reactions = nodes(resource, "reaction", notes, path)
    severity: _Severity | None = None
    manifestation: str | None = None
    for reaction in reactions:
        worst = _SEVERITY.get(text(reaction, "severity", notes, path) or "")
        if worst is not None and (severity is None or worst == "severe" or severity == "mild"):
            severity = worst
        for concept in nodes(reaction, "manifestation", notes, path):
            manifestation = manifestation or label(concept, notes, path)
    active = _status(resource, "clinicalStatus", notes, path)
    confirmed = True if verified == "confirmed" else False if verified == "refuted" else None
    if active in ("inactive", "resolved"):
        confirmed = False
    drug = drugs.resolve(drug_codes(coded, systems), said)
    agents = None if drug is None else drug.agents
    categories = resource.get("category")
    if agents is None and isinstance(categories, list) and categories and not (
        {"medication", "biologic"} & {str(one) for one in categories}
    ):  # fmt: skip
        agents = frozenset()  # stated to be of food or the environment: no drug ingredient
    if agents is None:
        notes.add(NoteKind.UNRESOLVED, path, "allergen is not in the dictionary", said or "")
    return Allergy(
        id=_id(resource, path),
        in_focus=False,
        name=said,
        agents=agents,
        severity=severity,
        confirmed=confirmed,
        reaction=manifestation,
    )


def _id(resource: Node, path: str) -> str:
    kind, own = resource.get("resourceType"), resource.get("id")
    return f"{kind}/{own}" if isinstance(kind, str) and isinstance(own, str) and own else path


_ICD_SYSTEM = re.compile(r"icd-?10|2\.16\.840\.1\.113883\.6\.(?:3|90)$", re.IGNORECASE)
_ICD_CODE = re.compile(r"[A-TV-Z]\d[0-9A-Z](?:\.[0-9A-Za-z+*]{1,8})?\Z")
_ACTIVE = {
    "active": True,
    "recurrence": True,
    "relapse": True,
    "inactive": False,
    "remission": False,
    "resolved": False,
}


def read_diagnosis(
    resource: Node, path: str, main: str | None, zone: dt.tzinfo | None, notes: Notes
) -> Diagnosis | None:
    """Return one diagnosis, ``None`` for one that is refuted or entered in error; ICD-10 codes only."""
    if _status(resource, "verificationStatus", notes, path) in ("entered-in-error", "refuted"):
        return None
    concept = node(resource, "code", notes, path)
    code: str | None = None
    for system, written, _ in codings(concept, notes, f"{path}.code"):
        if _ICD_SYSTEM.search(system) or (not system and _ICD_CODE.match(written)):
            code = written or None
            break
    status = _status(resource, "clinicalStatus", notes, path)
    item_id = _id(resource, path)
    onset = day(resource, "onsetDateTime", zone, notes, path) or day(
        resource, "recordedDate", zone, notes, path
    )
    return Diagnosis(
        id=item_id,
        in_focus=False,
        code=code,
        name=label(concept, notes, f"{path}.code"),
        main=None if main is None else item_id == main or item_id.endswith(f"/{main}"),
        active=_ACTIVE.get(status or ""),
        onset=onset,
    )


def main_condition(encounter: Node | None, notes: Notes, path: str) -> str | None:
    """Return the reference of the Condition that the Encounter ranks first."""
    if encounter is None:
        return None
    for entry in nodes(encounter, "diagnosis", notes, path):
        if number(entry, "rank", notes, f"{path}.diagnosis") == 1:
            return reference(entry, "condition", notes, f"{path}.diagnosis")
    return None
