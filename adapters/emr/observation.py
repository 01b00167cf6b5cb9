"""Turn Observations into results in canonical units, and the latest into the patient's own facts."""

from __future__ import annotations

import datetime as dt
from typing import Literal

from adapters.emr.fhir import Node, NoteKind, Notes, codings, label, moment, node, nodes, number, text
from adapters.emr.settings import Settings
from adapters.emr.units import lab_factor
from engine.facts import Observation, Patient

__all__ = ["fill_patient", "read_observation"]

_WEIGHT = ("29463-7", "3141-9", "3142-7", "8335-2")
_HEIGHT = ("8302-2", "3137-7", "8308-9")
_CREATININE = ("14682-9", "2160-0", "38483-4")
_EGFR = (
    "62238-1",
    "98979-8",
    "33914-3",
    "48642-3",
    "48643-1",
    "50044-7",
    "69405-9",
    "77147-7",
    "88293-6",
    "88294-4",
)
_PREGNANCY, _LACTATION = "82810-3", "63895-7"

_CANONICAL: dict[str, tuple[str, float | None]] = {
    **dict.fromkeys(_WEIGHT, ("kg", None)), **dict.fromkeys(_HEIGHT, ("cm", None)),
    **dict.fromkeys(_CREATININE, ("umol/L", 113.12)), **dict.fromkeys(_EGFR, ("mL/min/{1.73_m2}", None)),
    "1742-6": ("U/L", None), "1920-8": ("U/L", None), "6768-6": ("U/L", None), "2324-2": ("U/L", None),
    "2157-6": ("U/L", None), "1975-2": ("umol/L", 584.66), "14631-6": ("umol/L", 584.66),
    "1968-7": ("umol/L", 584.66), "6301-6": ("1", None), "34714-6": ("1", None),
    "2823-3": ("mmol/L", 39.098), "6298-4": ("mmol/L", 39.098), "2951-2": ("mmol/L", 22.99),
    "2947-0": ("mmol/L", 22.99), "17861-6": ("mmol/L", 40.078), "2000-8": ("mmol/L", 40.078),
    "19123-9": ("mmol/L", 24.305), "2601-3": ("mmol/L", 24.305), "2345-7": ("mmol/L", 180.156),
    "2339-0": ("mmol/L", 180.156), "1558-6": ("mmol/L", 180.156), "14749-6": ("mmol/L", 180.156),
    "3094-0": ("mmol/L", 28.014), "6299-2": ("mmol/L", 28.014), "22664-7": ("mmol/L", 60.056),
    "3084-1": ("umol/L", 168.11), "14933-6": ("umol/L", 168.11), "2093-3": ("mmol/L", 386.65),
    "14647-2": ("mmol/L", 386.65), "18262-6": ("mmol/L", 386.65), "2085-9": ("mmol/L", 386.65),
    "2571-8": ("mmol/L", 885.4), "14927-8": ("mmol/L", 885.4), "718-7": ("g/L", None),
    "1751-7": ("g/L", None), "2885-2": ("g/L", None), "777-3": ("10*9/L", None), "6690-2": ("10*9/L", None),
    "751-8": ("10*9/L", None), "26499-4": ("10*9/L", None), "789-8": ("10*12/L", None),
    "4548-4": ("%", None), "10535-3": ("ug/L", None), "14334-7": ("mmol/L", None), "4049-3": ("mg/L", None),
    "8634-8": ("ms", None), "8480-6": ("mm[Hg]", None), "8462-4": ("mm[Hg]", None),
}  # fmt: skip
"""LOINC -> (canonical unit, molar mass in g/mol where mass and amount of substance must meet)."""

_NAMED = {
    "体重": "29463-7", "身高": "8302-2", "肌酐": "14682-9", "血肌酐": "14682-9", "血清肌酐": "14682-9",
    "肌酐(cr)": "14682-9", "估算肾小球滤过率": "62238-1", "肾小球滤过率": "62238-1", "egfr": "62238-1",
    "丙氨酸氨基转移酶": "1742-6", "谷丙转氨酶": "1742-6", "alt": "1742-6", "天门冬氨酸氨基转移酶": "1920-8",
    "谷草转氨酶": "1920-8", "ast": "1920-8", "总胆红素": "14631-6", "钾": "2823-3", "血钾": "2823-3",
    "血清钾": "2823-3", "钠": "2951-2", "血钠": "2951-2", "国际标准化比值": "6301-6", "inr": "6301-6",
    "血小板": "777-3", "血小板计数": "777-3", "白细胞": "6690-2", "白细胞计数": "6690-2",
    "血红蛋白": "718-7", "血糖": "14749-6", "空腹血糖": "14749-6", "妊娠状态": "82810-3",
    "哺乳状态": "63895-7", "糖化血红蛋白": "4548-4",
}  # fmt: skip
"""Names as Chinese laboratories write them, where no LOINC code is given."""

_DEAD = ("entered-in-error", "cancelled", "registered")


def read_observation(
    resource: Node, item_id: str, path: str, zone: dt.tzinfo | None, notes: Notes
) -> list[Observation]:
    """Return the result and its components (blood pressure has two); none where it does not count."""
    if resource.get("status") in _DEAD:
        return []
    taken = moment(resource, "effectiveDateTime", zone, notes, path)
    if taken is None:
        period = node(resource, "effectivePeriod", notes, path)
        if period is not None:
            taken = moment(period, "start", zone, notes, f"{path}.effectivePeriod")
        else:
            taken = moment(resource, "effectiveInstant", zone, notes, path) or moment(
                resource, "issued", zone, notes, path
            )
    found = [_result(resource, item_id, taken, notes, path)]
    for position, part in enumerate(nodes(resource, "component", notes, path)):
        found.append(
            _result(part, f"{item_id}#{position + 1}", taken, notes, f"{path}.component[{position}]")
        )
    return found


def _result(part: Node, item_id: str, taken: dt.datetime | None, notes: Notes, path: str) -> Observation:
    concept = node(part, "code", notes, path)
    coded = codings(concept, notes, f"{path}.code")
    name = label(concept, notes, f"{path}.code")
    code = next((code for system, code, _ in coded if "loinc" in system and code), None)
    if code is None and name is not None:
        code = _NAMED.get(name.strip().casefold())
    if code is None:
        code = next((code for _, code, _ in coded if code), None)
    value, unit, words = _value(part, code, notes, path)
    return Observation(
        id=item_id, in_focus=False, code=code, name=name, value=value, unit=unit, text=words, taken=taken
    )


def _value(
    part: Node, code: str | None, notes: Notes, path: str
) -> tuple[float | None, str | None, str | None]:
    amount = node(part, "valueQuantity", notes, path)
    if amount is not None:
        where = f"{path}.valueQuantity"
        value = number(amount, "value", notes, where)
        coded, said = text(amount, "code", notes, where), text(amount, "unit", notes, where)
        unit = coded or said
        comparator = text(amount, "comparator", notes, where)
        if comparator is not None and value is not None:
            return None, unit, f"{comparator}{value:g}"  # <5 is no number that may be compared
        return _canonical(value, coded, said, code, notes, where)
    if "valueInteger" in part:
        return number(part, "valueInteger", notes, path), None, None
    flag = part.get("valueBoolean")
    if isinstance(flag, bool):
        return None, None, "true" if flag else "false"
    concept = node(part, "valueCodeableConcept", notes, path)
    if concept is not None:
        first = next((one for _, one, _ in codings(concept, notes, path) if one), None)
        return None, None, first or label(concept, notes, path)
    return None, None, text(part, "valueString", notes, path)


def _canonical(
    value: float | None, coded: str | None, said: str | None, code: str | None, notes: Notes, path: str
) -> tuple[float | None, str | None, str | None]:
    unit = coded or said
    wanted = _CANONICAL.get(code or "")
    if wanted is None or value is None:
        return value, unit, None
    canonical, molar = wanted
    for written in (coded, said, ""):
        # Only what has no dimension (INR) may come without a unit.
        if written is None or (written == "" and (unit is not None or canonical != "1")):
            continue
        factor = lab_factor(written, canonical, molar)
        if factor is not None:
            return value * factor, canonical, None
    notes.add(NoteKind.MALFORMED, path, f"unit {unit!r} is not one of {canonical}")
    return None, unit, f"{value:g} {unit or ''}".strip()


_State = Literal["pregnant", "lactating", "neither"]
_YES = {
    "77386006",
    "LA15173-0",
    "true",
    "Y",
    "pregnant",
    "怀孕",
    "妊娠",
    "是",
    "孕",
    "已怀孕",
    "413712001",
    "69840006",
    "LA33-6",
}
_NO = {
    "60001007",
    "LA26683-5",
    "false",
    "N",
    "not pregnant",
    "未孕",
    "否",
    "未怀孕",
    "LA32-8",
    "无",
    "413713006",
}


def fill_patient(
    patient: Patient, observations: list[Observation], at: dt.datetime, settings: Settings
) -> None:
    """Fill in weight, height, creatinine, eGFR and pregnancy from the latest result that is still valid.

    ``Patient.weight_kg`` and its like mean *the latest valid value*; the spans are the site's settings.
    """
    adult = _adult(patient, at)
    weight_days = settings.weight_days_adult if adult else settings.weight_days_child
    height_days = settings.height_days_adult if adult else settings.height_days_child
    patient.weight_kg = _positive(_latest(observations, _WEIGHT, at, weight_days))
    patient.height_cm = _positive(_latest(observations, _HEIGHT, at, height_days))
    patient.creatinine_umol_l = _positive(_latest(observations, _CREATININE, at, settings.renal_days))
    egfr = _latest(observations, _EGFR, at, settings.renal_days)
    patient.egfr = None if egfr is None else egfr.value
    patient.pregnancy = _pregnancy(observations, at, settings)


def _adult(patient: Patient, at: dt.datetime) -> bool:
    """Say whether the longer span holds; an unknown age gets the shorter one."""
    if patient.birth_date is not None:
        return (at.date() - patient.birth_date).days >= 18 * 365.25
    return patient.age_years is not None and patient.age_years >= 18


def _latest(
    observations: list[Observation], codes: tuple[str, ...], at: dt.datetime, days: int
) -> Observation | None:
    """Return the latest result of these codes within the span; a later one without a number hides it."""
    found: Observation | None = None
    for one in observations:
        if one.code not in codes or one.taken is None or one.taken > at + dt.timedelta(minutes=5):
            continue
        if found is None or found.taken is None or one.taken >= found.taken:
            found = one
    if found is None or found.taken is None or at - found.taken > dt.timedelta(days=days):
        return None
    return found


def _positive(found: Observation | None) -> float | None:
    return None if found is None or found.value is None or found.value <= 0 else found.value


def _pregnancy(observations: list[Observation], at: dt.datetime, settings: Settings) -> _State | None:
    """Return the state only where it is certain: *not pregnant* alone leaves lactation open."""
    pregnant = _yes_or_no(_latest(observations, (_PREGNANCY,), at, settings.pregnancy_days))
    lactating = _yes_or_no(_latest(observations, (_LACTATION,), at, settings.pregnancy_days))
    if pregnant:
        return "pregnant"
    if pregnant is None:
        return None  # lactating says nothing of a new pregnancy
    if lactating is None:
        return None
    return "lactating" if lactating else "neither"


def _yes_or_no(found: Observation | None) -> bool | None:
    if found is None or found.text is None:
        return None
    return True if found.text in _YES else False if found.text in _NO else None
