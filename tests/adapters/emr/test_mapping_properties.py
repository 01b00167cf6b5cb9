"""No JSON at all makes the mapping raise: what it cannot read becomes unknown."""

from __future__ import annotations

import datetime as dt

from hypothesis import given
from hypothesis import strategies as st

from adapters.emr.action import Action
from adapters.emr.mapping import from_bundle, to_facts
from adapters.emr.product import Drug
from adapters.emr.settings import Settings

Json = dict[str, object]

leaves = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=8),
    st.sampled_from(
        [
            "Bundle",
            "Patient",
            "Observation",
            "MedicationRequest",
            "active",
            "draft",
            "2026-03-01",
            "mg",
            "tid",
            "1980",
        ]
    ),
)
names = st.sampled_from(
    [
        "resourceType",
        "id",
        "entry",
        "resource",
        "status",
        "code",
        "coding",
        "text",
        "system",
        "display",
        "link",
        "relation",
        "dosageInstruction",
        "timing",
        "repeat",
        "frequency",
        "period",
        "periodUnit",
        "doseAndRate",
        "doseQuantity",
        "doseRange",
        "low",
        "high",
        "value",
        "unit",
        "rateRatio",
        "rateQuantity",
        "numerator",
        "denominator",
        "route",
        "sequence",
        "dayOfWeek",
        "boundsPeriod",
        "boundsDuration",
        "start",
        "end",
        "maxDosePerPeriod",
        "asNeededBoolean",
        "medicationCodeableConcept",
        "medicationReference",
        "reference",
        "contained",
        "ingredient",
        "strength",
        "authoredOn",
        "dispenseRequest",
        "quantity",
        "valueQuantity",
        "component",
        "effectiveDateTime",
        "birthDate",
        "gender",
        "class",
        "category",
        "reaction",
        "diagnosis",
        "verificationStatus",
        "clinicalStatus",
        "type",
        "participant",
        "series",
        "modality",
        "dosage",
        "effectivePeriod",
        "rank",
    ]
)
trees = st.recursive(
    leaves,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=5),
    max_leaves=25,
)
KEYS = (
    "patient",
    "encounter",
    "allergies",
    "conditions",
    "meds",
    "medStatements",
    "labs",
    "vitals",
    "coverage",
    "imaging",
)
TYPES = (
    "Patient",
    "Encounter",
    "AllergyIntolerance",
    "Condition",
    "MedicationRequest",
    "MedicationStatement",
    "Observation",
    "Coverage",
    "ImagingStudy",
    "ServiceRequest",
    "Appointment",
    "Medication",
)
typed = st.builds(
    lambda kind, body: {**body, "resourceType": kind},
    st.sampled_from(TYPES),
    st.dictionaries(names, trees, max_size=6),
)
searches = st.builds(
    lambda found: {"resourceType": "Bundle", "entry": [{"resource": one} for one in found]},
    st.lists(typed | trees, max_size=3),
)


class FakeDictionary:
    """Know no drug at all."""

    def resolve(self, codes: tuple[tuple[str, str], ...], name: str | None, /) -> Drug | None:
        return None


@given(st.lists(typed, max_size=3), st.dictionaries(st.sampled_from(KEYS), trees | searches | typed))
def test_no_json_at_all_makes_the_mapping_raise(drafts: list[Json], data: dict[str, object]) -> None:
    action = Action(
        patient_id="p",
        drafts=tuple((one, f"draftOrders.entry[{n}].resource") for n, one in enumerate(drafts)),
    )
    at = dt.datetime(2026, 3, 1, 10, tzinfo=dt.UTC)
    mapped = to_facts(action, data, FakeDictionary(), at, Settings())
    ids = [one.id for one in mapped.facts.medications or ()]
    assert len(ids) == len(set(ids))


@given(trees | searches)
def test_no_bundle_at_all_makes_the_split_raise(body: object) -> None:
    bundle = body if isinstance(body, dict) else {"entry": body}
    action, data = from_bundle(bundle)
    to_facts(action, data, FakeDictionary(), dt.datetime(2026, 3, 1, 10), Settings())
