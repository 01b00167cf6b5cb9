"""Make the requests that the service benchmarks send: an order-sign of ten orders for one patient.

The ordinary one: a man of 69 with hypertension, on aspirin, without a measured eGFR; it is answered with
a few cards and a few checks that could not be made. The crowded one: a man of 76 with atrial fibrillation
on warfarin, with which several of the orders interact. The benchmark prints what each is answered with.
"""

from __future__ import annotations

import msgspec

__all__ = ["PLACE", "SERVICE", "order_sign"]

SERVICE = "/cds-services/ruleward-order-sign"
PLACE = "00000000-0000-4000-8000-000000000000"
"""Where each request writes a ``hookInstance`` of its own."""

_ATC = "http://www.whocc.no/atc"
_SNOMED = "http://snomed.info/sct"
_UCUM = "http://unitsofmeasure.org"
_PATIENT = {"reference": "Patient/P1"}
_DRUGS: tuple[tuple[str, str, str, str, float, str, str], ...] = (
    ("ibuprofen-1", "M01AE01", "布洛芬片 0.2g×20片/盒", "每次0.2g,每日3次,口服", 0.2, "g", "tid"),
    ("paracetamol-1", "N02BE01", "对乙酰氨基酚片 0.5g×12片/盒", "每次0.5g,每日3次,口服", 0.5, "g", "tid"),
    ("amoxicillin-1", "J01CA04", "阿莫西林胶囊 0.25g×24粒/盒", "每次0.5g,每日3次,口服", 0.5, "g", "tid"),
    ("omeprazole-1", "A02BC01", "奥美拉唑肠溶胶囊 20mg×14粒/盒", "每次20mg,每日1次,口服", 20, "mg", "qd"),
    ("metformin-1", "A10BA02", "盐酸二甲双胍片 0.5g×20片/盒", "每次0.5g,每日2次,口服", 0.5, "g", "bid"),
    ("amlodipine-1", "C08CA01", "苯磺酸氨氯地平片 5mg×7片/盒", "每次5mg,每日1次,口服", 5, "mg", "qd"),
    ("atorvastatin-1", "C10AA05", "阿托伐他汀钙片 20mg×7片/盒", "每次20mg,每晚1次,口服", 20, "mg", "qn"),
    ("ambroxol-1", "R05CB06", "盐酸氨溴索片 30mg×20片/盒", "每次30mg,每日3次,口服", 30, "mg", "tid"),
    ("cetirizine-1", "R06AE07", "盐酸西替利嗪片 10mg×12片/盒", "每次10mg,每日1次,口服", 10, "mg", "qd"),
    ("losartan-1", "C09CA01", "氯沙坦钾片 50mg×7片/盒", "每次50mg,每日1次,口服", 50, "mg", "qd"),
)
_WARFARIN = ("warfarin-1", "B01AA03", "华法林钠片 2.5mg×60片/瓶", "每次2.5mg,每日1次,口服", 2.5, "mg", "qd")
_ASPIRIN = ("aspirin-1", "B01AC06", "阿司匹林肠溶片 100mg×30片/盒", "每次100mg,每日1次,口服", 100, "mg", "qd")


def _request(drug: tuple[str, str, str, str, float, str, str], status: str, day: str) -> dict[str, object]:
    name, code, product, text, dose, unit, often = drug
    return {
        "resourceType": "MedicationRequest",
        "id": name,
        "status": status,
        "intent": "order",
        "medicationCodeableConcept": {"coding": [{"system": _ATC, "code": code}], "text": product},
        "subject": _PATIENT,
        "authoredOn": f"{day}T09:30:00+08:00",
        "dosageInstruction": [
            {
                "text": text,
                "timing": {
                    "repeat": {"boundsDuration": {"value": 5, "unit": "d", "system": _UCUM, "code": "d"}},
                    "code": {"text": often},
                },
                "route": {"coding": [{"system": _SNOMED, "code": "26643006", "display": "口服"}]},
                "doseAndRate": [{"doseQuantity": {"value": dose, "unit": unit, "system": _UCUM}}],
            }
        ],
    }  # fmt: skip


def _observation(name: str, kind: str, loinc: str, text: str, value: float, unit: str) -> dict[str, object]:
    category = "http://terminology.hl7.org/CodeSystem/observation-category"
    return {
        "resourceType": "Observation",
        "id": name,
        "status": "final",
        "category": [{"coding": [{"system": category, "code": kind}]}],
        "code": {"coding": [{"system": "http://loinc.org", "code": loinc}], "text": text},
        "subject": _PATIENT,
        "effectiveDateTime": "2026-02-27T08:00:00+08:00",
        "valueQuantity": {"value": value, "unit": unit, "system": _UCUM, "code": unit},
    }


def _bundle(*resources: dict[str, object]) -> dict[str, object]:
    entries = [{"resource": resource} for resource in resources]
    return {"resourceType": "Bundle", "type": "searchset", "entry": entries}


def order_sign(*, crowded: bool = False) -> bytes:
    """Return the body; :data:`PLACE` stands in it once."""
    diagnosis, name = ("I48.901", "心房颤动") if crowded else ("I10.x00", "高血压病")
    clinical = "http://terminology.hl7.org/CodeSystem/condition-clinical"
    body = {
        "hook": "order-sign",
        "hookInstance": PLACE,
        "context": {
            "userId": "Practitioner/D1",
            "patientId": "P1",
            "encounterId": "E1",
            "draftOrders": _bundle(*[_request(drug, "draft", "2026-03-01") for drug in _DRUGS]),
        },
        "prefetch": {
            "patient": {
                "resourceType": "Patient",
                "id": "P1",
                "gender": "male",
                "birthDate": "1950-02-03" if crowded else "1957-02-03",
            },
            "encounter": {
                "resourceType": "Encounter",
                "id": "E1",
                "status": "in-progress",
                "class": {"system": "http://terminology.hl7.org/CodeSystem/v3-ActCode", "code": "IMP"},
                "subject": _PATIENT,
            },
            "allergies": _bundle(
                {
                    "resourceType": "AllergyIntolerance",
                    "id": "none",
                    "code": {"coding": [{"system": _SNOMED, "code": "716186003"}], "text": "无已知过敏"},
                    "patient": _PATIENT,
                }
            ),
            "conditions": _bundle(
                {
                    "resourceType": "Condition",
                    "id": "af",
                    "clinicalStatus": {"coding": [{"system": clinical, "code": "active"}]},
                    "code": {
                        "coding": [{"system": "http://hl7.org/fhir/sid/icd-10", "code": diagnosis}],
                        "text": name,
                    },
                    "subject": _PATIENT,
                }
            ),
            "meds": _bundle(_request(_WARFARIN if crowded else _ASPIRIN, "active", "2026-02-20")),
            "medStatements": None,
            "labs": _bundle(
                _observation("cr", "laboratory", "14682-9", "肌酐", 88, "umol/L"),
                _observation("k", "laboratory", "2823-3", "钾", 4.2, "mmol/L"),
                _observation("inr", "laboratory", "6301-6", "国际标准化比值", 2.4, "1"),
            ),
            "vitals": _bundle(
                _observation("wt", "vital-signs", "29463-7", "体重", 68, "kg"),
                _observation("ht", "vital-signs", "8302-2", "身高", 170, "cm"),
            ),
            "coverage": None,
            "imaging": None,
        },
    }
    return msgspec.json.encode(body)
