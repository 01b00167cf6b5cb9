"""A small drug dictionary, a fixed moment and builders of FHIR resources."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Mapping

import msgspec
import pytest

from adapters.emr.action import Action, Mapped
from adapters.emr.mapping import to_facts
from adapters.emr.settings import Settings

Json = dict[str, object]
NAMES = {
    "布洛芬": ("ibuprofen",),
    "ibuprofen": ("ibuprofen",),
    "华法林": ("warfarin",),
    "acetaminophen": ("paracetamol",),
    "对乙酰氨基酚": ("paracetamol",),
    "paracetamol": ("paracetamol",),
    "hydrocodone": ("hydrocodone",),
    "青霉素": ("benzylpenicillin",),
    "胰岛素": ("insulin",),
    "多巴胺": ("dopamine",),
    "泼尼松": ("prednisone",),
}
CODES = {
    ("rxnorm", "5640"): ("ibuprofen",),
    ("atc", "B01AA03"): ("warfarin",),
    ("nhsa", "XM01AEB005A001010100001"): ("ibuprofen",),
}


class FakeDrug(msgspec.Struct, frozen=True):
    ingredients: frozenset[str]
    agents: frozenset[str]
    strengths: Mapping[str, float] = {}


class FakeDrugs:
    """Resolve by the tables above; a name resolves by the names inside it."""

    def resolve(self, codes: tuple[tuple[str, str], ...], name: str | None, /) -> FakeDrug | None:
        found = {one for code in codes for one in CODES.get(code, ())}
        if not found and name:
            found = {one for known, held in NAMES.items() if known in name.casefold() for one in held}
        if not found:
            return None
        agents = found | {f"class_of_{one}" for one in found}
        strengths = {"ibuprofen": 200.0} if ("rxnorm", "5640") in codes else {}
        return FakeDrug(frozenset(found), frozenset(agents), strengths)


@pytest.fixture
def drugs() -> FakeDrugs:
    return FakeDrugs()


@pytest.fixture
def at() -> dt.datetime:
    return dt.datetime(2026, 3, 1, 10, tzinfo=dt.timezone(dt.timedelta(hours=8)))


Order = Callable[..., Json]
Map = Callable[..., Mapped]


@pytest.fixture
def order() -> Order:
    """Return a builder of MedicationRequests: name, dosage instructions, further fields."""

    def build(name: str | None, *dosage: Json, own: str = "m1", **fields: object) -> Json:
        built: Json = {
            "resourceType": "MedicationRequest",
            "id": own,
            "status": "draft",
            "intent": "order",
            "subject": {"reference": "Patient/p"},
            "dosageInstruction": list(dosage),
        }
        if name is not None:
            built["medicationCodeableConcept"] = {"text": name}
        return {**built, **fields}

    return build


@pytest.fixture
def dosage() -> Callable[..., Json]:
    """Return a builder of dosage instructions: a dose, its unit, how often (words or Timing.repeat)."""

    def build(value: object, unit: object, often: object, **fields: object) -> Json:
        timing = {"repeat": often} if isinstance(often, dict) else {"code": {"text": often}}
        return {"timing": timing, "doseAndRate": [{"doseQuantity": {"value": value, "unit": unit}}], **fields}

    return build


@pytest.fixture
def bundle() -> Callable[..., Json]:
    def build(*resources: object) -> Json:
        return {
            "resourceType": "Bundle",
            "type": "searchset",
            "entry": [{"resource": one} for one in resources],
        }

    return build


@pytest.fixture
def map_drafts(drugs: FakeDrugs, at: dt.datetime, bundle: Callable[..., Json]) -> Map:
    """Return a mapping of draft orders with everything else known to be none, unless ``data`` says else."""

    def run(
        *drafts: Json,
        settings: Settings | None = None,
        selections: frozenset[str] | None = None,
        **data: object,
    ) -> Mapped:
        known: dict[str, object] = {
            "patient": {"resourceType": "Patient", "id": "p", "gender": "female", "birthDate": "1980-05-01"},
            **dict.fromkeys(("encounter", "allergies", "conditions", "meds", "medStatements"), None),
            **dict.fromkeys(("labs", "vitals", "coverage", "imaging"), None),
            **data,
        }
        known = {key: value for key, value in known.items() if value is not ...}
        placed = tuple((one, f"draftOrders.entry[{n}].resource") for n, one in enumerate(drafts))
        action = Action(patient_id="p", drafts=placed, selections=selections, expects=frozenset(known))
        return to_facts(action, known, drugs, at, settings or Settings())

    return run
