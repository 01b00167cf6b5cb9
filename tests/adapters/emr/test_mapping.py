"""FHIR becomes facts; what is missing or malformed becomes unknown and is noted, never guessed."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable

import pytest

from adapters.emr.action import Mapped
from adapters.emr.fhir import NoteKind
from adapters.emr.mapping import from_bundle, to_facts
from adapters.emr.product import Drugs, without_pack
from adapters.emr.settings import Settings

Json = dict[str, object]
Build = Callable[..., Json]
Map = Callable[..., Mapped]


def result(code: str, value: float, unit: str, day: str = "2026-02-28", **fields: object) -> Json:
    return {
        "resourceType": "Observation",
        "id": f"{code}-{day}",
        "status": "final",
        "effectiveDateTime": f"{day}T08:00:00+08:00",
        "code": {"coding": [{"system": "http://loinc.org", "code": code}]},
        "valueQuantity": {"value": value, "unit": unit},
        **fields,
    }


def allergy(text: str = "", code: str = "", /, **fields: object) -> Json:
    return {
        "resourceType": "AllergyIntolerance",
        "id": "a1",
        "code": {"text": text, "coding": [{"system": "http://snomed.info/sct", "code": code}]},
        **fields,
    }


def kinds(mapped: Mapped) -> set[NoteKind]:
    return {note.kind for note in mapped.notes}


# -- the patient ----------------------------------------------------------------------------------------


def test_a_partial_date_of_birth_gives_only_the_age_that_it_fixes(map_drafts: Map) -> None:
    patient = {"resourceType": "Patient", "id": "p", "gender": "男"}
    year = map_drafts(patient={**patient, "birthDate": "1980"}).facts.patient
    assert (year.sex, year.birth_date, year.age_years) == ("male", None, None)
    month = map_drafts(patient={**patient, "birthDate": "1980-05"}).facts.patient
    assert (month.birth_date, month.age_years) == (None, 45)
    same = map_drafts(patient={**patient, "birthDate": "1980-03"}).facts.patient
    assert same.age_years is None


@pytest.mark.parametrize("born", ["2027-01-01", "19800501", "1980-13-01", 1980, None, ""])
def test_a_date_of_birth_that_cannot_be_is_unknown(born: object, map_drafts: Map) -> None:
    patient = map_drafts(
        patient={"resourceType": "Patient", "birthDate": born, "gender": "unknown"}
    ).facts.patient
    assert (patient.birth_date, patient.age_years, patient.sex) == (None, None, None)


@pytest.mark.parametrize(
    ("code", "value", "unit", "expected"),
    [("2160-0", 1.0, "mg/dL", 88.4), ("14682-9", 120, "μmol/L", 120), ("2160-0", 0.1, "mmol/L", 100)],
)
def test_creatinine_arrives_in_umol_per_litre(
    code: str, value: float, unit: str, expected: float, map_drafts: Map, bundle: Build
) -> None:
    facts = map_drafts(labs=bundle(result(code, value, unit))).facts
    assert facts.patient.creatinine_umol_l == pytest.approx(expected, rel=1e-3)
    assert facts.observations is not None
    assert facts.observations[0].unit == "umol/L"


@pytest.mark.parametrize(
    ("code", "value", "unit", "expected"),
    [
        ("2823-3", 5.5, "mEq/L", 5.5),
        ("1975-2", 1.0, "mg/dL", 17.1),
        ("2345-7", 180, "mg/dL", 9.99),
        ("718-7", 13, "g/dL", 130),
        ("777-3", 250, "10*3/uL", 250),
        ("6301-6", 2.4, "", 2.4),
        ("4548-4", 7, "%", 7),
    ],
)
def test_results_arrive_in_the_canonical_unit(
    code: str, value: float, unit: str, expected: float, map_drafts: Map, bundle: Build
) -> None:
    (found,) = map_drafts(labs=bundle(result(code, value, unit))).facts.observations or ()
    assert found.value == pytest.approx(expected, rel=1e-2)


def test_a_result_in_an_impossible_unit_or_below_a_limit_has_no_number(
    map_drafts: Map, bundle: Build
) -> None:
    below = result("2823-3", 2, "mmol/L")
    below["valueQuantity"] = {"value": 2, "unit": "mmol/L", "comparator": "<"}
    one, other = map_drafts(labs=bundle(result("2823-3", 4, "kg"), below)).facts.observations or ()
    assert (one.value, other.value, other.text) == (None, None, "<2")


def test_the_latest_weight_counts_while_it_is_valid(map_drafts: Map, bundle: Build) -> None:
    old, new = result("29463-7", 60, "kg", "2026-01-01"), result("29463-7", 132, "斤", "2026-02-20")
    assert map_drafts(vitals=bundle(new, old)).facts.patient.weight_kg == pytest.approx(66)
    assert (
        map_drafts(vitals=bundle(result("29463-7", 60, "kg", "2025-07-01"))).facts.patient.weight_kg is None
    )
    child = {"resourceType": "Patient", "birthDate": "2022-01-01"}
    assert map_drafts(patient=child, vitals=bundle(old)).facts.patient.weight_kg is None


def test_results_named_in_chinese_are_known_by_their_names(map_drafts: Map, bundle: Build) -> None:
    named = result("", 70, "公斤")
    named["code"] = {"text": "体重"}
    assert map_drafts(vitals=bundle(named)).facts.patient.weight_kg == 70


def test_not_pregnant_alone_leaves_lactation_open(map_drafts: Map, bundle: Build) -> None:
    def state(code: str, said: str) -> Json:
        return {
            **result(code, 0, ""),
            "valueQuantity": None,
            "valueCodeableConcept": {"coding": [{"code": said}]},
        }

    no, yes = state("82810-3", "60001007"), state("82810-3", "77386006")
    nursing = {**state("63895-7", "N"), "valueCodeableConcept": {"text": "否"}}
    assert map_drafts(labs=bundle(yes)).facts.patient.pregnancy == "pregnant"
    assert map_drafts(labs=bundle(no)).facts.patient.pregnancy is None
    assert map_drafts(labs=bundle(no, nursing)).facts.patient.pregnancy == "neither"


# -- allergies, diagnoses, visit ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "code"), [("", "716186003"), ("否认药物过敏史", ""), ("NKDA", ""), ("", "409137002")]
)
def test_no_known_allergy_is_known_to_be_none(text: str, code: str, map_drafts: Map, bundle: Build) -> None:
    assert map_drafts(allergies=bundle(allergy(text, code))).facts.allergies == ()


def test_nothing_recorded_is_not_no_allergy(map_drafts: Map, bundle: Build) -> None:
    assert map_drafts(allergies=bundle()).facts.allergies is None
    assert map_drafts(allergies=None).facts.allergies is None
    site = Settings(empty_allergies_mean_none=True)
    assert map_drafts(allergies=bundle(), settings=site).facts.allergies == ()


def test_an_allergy_is_resolved_and_its_status_kept(map_drafts: Map, bundle: Build) -> None:
    status: Json = {"verificationStatus": {"coding": [{"code": "confirmed"}]}}
    reaction: Json = {"reaction": [{"severity": "severe", "manifestation": [{"text": "过敏性休克"}]}]}
    (found,) = map_drafts(allergies=bundle(allergy("青霉素", **status, **reaction))).facts.allergies or ()
    assert found.agents is not None
    assert "benzylpenicillin" in found.agents
    assert (found.confirmed, found.severity, found.reaction) == (True, "severe", "过敏性休克")


def test_an_allergy_in_error_is_left_out_and_an_unknown_allergen_is_noted(
    map_drafts: Map, bundle: Build
) -> None:
    error = allergy("青霉素", verificationStatus={"coding": [{"code": "entered-in-error"}]})
    mapped = map_drafts(allergies=bundle(error, allergy("某新药")))
    assert [one.agents for one in mapped.facts.allergies or ()] == [None]
    assert NoteKind.UNRESOLVED in kinds(mapped)


def test_diagnoses_carry_icd_10_only_and_the_main_one_is_marked(map_drafts: Map, bundle: Build) -> None:
    def condition(own: str, system: str, code: str, **fields: object) -> Json:
        return {
            "resourceType": "Condition",
            "id": own,
            "code": {"coding": [{"system": system, "code": code}], "text": own},
            "clinicalStatus": {"coding": [{"code": "active"}]},
            **fields,
        }

    refuted = {"verificationStatus": {"coding": [{"code": "refuted"}]}}
    facts = map_drafts(
        conditions=bundle(
            condition("c1", "http://hl7.org/fhir/sid/icd-10", "I48.901"),
            condition("c2", "http://snomed.info/sct", "49436004"),
            condition("c3", "", "E11.900", **refuted),
        ),
        encounter={
            "resourceType": "Encounter",
            "id": "e",
            "class": {"code": "EMER"},
            "diagnosis": [{"condition": {"reference": "Condition/c1"}, "rank": 1}],
        },
    ).facts
    assert [(one.code, one.main, one.active) for one in facts.diagnoses or ()] == [
        ("I48.901", True, True),
        (None, False, True),
    ]
    assert (facts.visit.kind, facts.visit.main_diagnosis) == ("emergency", "I48.901")


def test_coverage_gives_the_insurance_type(map_drafts: Map, bundle: Build) -> None:
    coverage = {"resourceType": "Coverage", "status": "active", "type": {"coding": [{"code": "390"}]}}
    assert map_drafts(coverage=bundle(coverage)).facts.visit.insurance == "resident"


# -- orders ---------------------------------------------------------------------------------------------


def test_drafts_are_in_focus_and_active_orders_are_their_context(
    map_drafts: Map, order: Build, dosage: Build, bundle: Build
) -> None:
    active = order("华法林钠片", dosage(2.5, "mg", "qd"), own="w", status="active")
    stopped = order("布洛芬片", dosage(200, "mg", "qd"), own="s", status="stopped")
    facts = map_drafts(order("布洛芬片", dosage(200, "mg", "tid")), meds=bundle(active, stopped)).facts
    assert [(one.id, one.in_focus) for one in facts.medications or ()] == [
        ("MedicationRequest/m1", True),
        ("MedicationRequest/w", False),
    ]
    assert {one.medication for one in facts.components or ()} == {
        "MedicationRequest/m1",
        "MedicationRequest/w",
    }


def test_only_the_selected_drafts_are_in_focus(map_drafts: Map, order: Build) -> None:
    drafts = (order("布洛芬片", own="a"), order("华法林钠片", own="b"))
    facts = map_drafts(*drafts, selections=frozenset({"MedicationRequest/b"})).facts
    assert [one.in_focus for one in facts.medications or ()] == [False, True]
    facts = map_drafts(*drafts, selections=frozenset({"MedicationRequest/other"})).facts
    assert [one.in_focus for one in facts.medications or ()] == [True, True]


def test_a_draft_that_is_already_active_is_counted_once(map_drafts: Map, order: Build, bundle: Build) -> None:
    facts = map_drafts(order("布洛芬片"), meds=bundle(order("布洛芬片", status="active"))).facts
    assert len(facts.medications or ()) == 1


def test_two_drafts_of_one_id_stay_two_orders(map_drafts: Map, order: Build) -> None:
    facts = map_drafts(order("布洛芬片"), order("布洛芬片")).facts
    assert len({one.id for one in facts.medications or ()}) == 2


def test_what_was_not_obtained_is_stood_in_for_by_something_unknown(map_drafts: Map, order: Build) -> None:
    mapped = map_drafts(order("布洛芬片"), medStatements=..., meds=...)
    unknown = [one for one in mapped.facts.medications or () if not one.in_focus]
    assert [(one.ingredients, one.agents, one.start) for one in unknown] == [(None, None, None)] * 2
    outcome = {"resourceType": "OperationOutcome", "issue": []}
    facts = map_drafts(order("布洛芬片"), medStatements=outcome, conditions=outcome, allergies=outcome).facts
    assert (facts.diagnoses, facts.allergies) == (None, None)
    assert len(facts.medications or ()) == 2


def test_null_is_the_clients_word_for_no_data(map_drafts: Map, order: Build) -> None:
    facts = map_drafts(order("布洛芬片")).facts
    assert (len(facts.medications or ()), facts.diagnoses, facts.observations) == (1, (), ())


def test_more_pages_than_were_read_leave_the_orders_incomplete(
    map_drafts: Map, order: Build, bundle: Build
) -> None:
    page = {**bundle(), "link": [{"relation": "next", "url": "http://x/next"}]}
    assert len(map_drafts(order("布洛芬片"), meds=page).facts.medications or ()) == 2


def test_an_unknown_drug_has_no_ingredients_and_is_named(
    map_drafts: Map, order: Build, dosage: Build
) -> None:
    mapped = map_drafts(order("某某复方制剂", dosage(2, "片", "tid")))
    (found,) = mapped.facts.medications or ()
    assert (found.ingredients, found.agents) == (None, None)
    assert [(one.ingredient, one.daily_mg) for one in mapped.facts.components or ()] == [(None, None)]
    assert [note.name for note in mapped.notes if note.kind is NoteKind.UNRESOLVED] == ["某某复方制剂"]


@pytest.mark.parametrize(
    ("system", "code"),
    [
        ("http://www.nlm.nih.gov/research/umls/rxnorm", "5640"),
        ("http://www.whocc.no/atc", "B01AA03"),
        ("https://code.nhsa.gov.cn/drug", "XM01AEB005A001010100001"),
        ("urn:oid:1.2.3", "XM01AEB005A001010100001"),
    ],
)
def test_rxnorm_atc_and_national_codes_resolve(system: str, code: str, map_drafts: Map, order: Build) -> None:
    concept = {"coding": [{"system": system, "code": code}]}
    (found,) = map_drafts(order(None, medicationCodeableConcept=concept)).facts.medications or ()
    assert found.ingredients
    assert found.code == f"{system}|{code}"


def test_a_referenced_medication_is_followed(
    map_drafts: Map, order: Build, dosage: Build, bundle: Build
) -> None:
    strength = {"numerator": {"value": 200, "unit": "mg"}, "denominator": {"value": 1, "unit": "片"}}
    held = {
        "resourceType": "Medication",
        "id": "med",
        "code": {"text": "布洛芬"},
        "form": {"text": "片剂"},
        "ingredient": [{"itemCodeableConcept": {"text": "布洛芬"}, "strength": strength}],
    }
    inside = order(None, dosage(2, "片", "tid"), contained=[held], medicationReference={"reference": "#med"})
    outside = order(
        None, dosage(2, "片", "tid"), own="m2", medicationReference={"reference": "Medication/med"}
    )
    facts = map_drafts(inside, outside, meds=bundle(held)).facts
    assert [one.daily_mg for one in facts.components or ()] == [1200, 1200]
    assert {one.form for one in facts.medications or ()} == {"tablet"}


def test_an_order_runs_from_its_start_to_its_stated_end(map_drafts: Map, order: Build, dosage: Build) -> None:
    repeat = {"frequency": 3, "period": 1, "periodUnit": "d", "boundsDuration": {"value": 1, "unit": "周"}}
    draft = order("布洛芬片", dosage(200, "mg", repeat), authoredOn="2026-03-01T02:00:00Z")
    (found,) = map_drafts(draft).facts.medications or ()
    assert (found.start, found.end) == (dt.datetime(2026, 3, 1, 10), dt.datetime(2026, 3, 8, 10))
    assert found.course_days == 7


def test_an_inferred_end_in_the_past_does_not_end_an_active_order(
    map_drafts: Map, order: Build, bundle: Build
) -> None:
    supply = {"expectedSupplyDuration": {"value": 30, "unit": "d"}}
    active = order("华法林钠片", own="w", status="active", authoredOn="2025-01-01", dispenseRequest=supply)
    (found,) = map_drafts(meds=bundle(active)).facts.medications or ()
    assert (found.start, found.end, found.course_days) == (dt.datetime(2025, 1, 1), None, 30)


def test_the_course_follows_from_the_quantity(map_drafts: Map, order: Build, dosage: Build) -> None:
    dispense = {"quantity": {"value": 24, "unit": "片"}}
    (found,) = (
        map_drafts(order("布洛芬片", dosage(2, "片", "bid"), dispenseRequest=dispense)).facts.medications
        or ()
    )
    assert (found.course_days, found.quantity) == (6, 24)


@pytest.mark.parametrize(
    ("route", "word"),
    [
        ({"coding": [{"code": "26643006"}]}, "oral"),
        ({"text": "静脉滴注"}, "iv"),
        ({"text": "ivgtt"}, "iv"),
        ({"text": "肌注"}, "im"),
        ({"text": "皮下注射"}, "sc"),
        ({"text": "外用"}, "topical"),
        ({"text": "雾化吸入"}, "inhaled"),
        ({"text": "po"}, "oral"),
        ({"text": "Oral route"}, "oral"),
        ({"text": "飞行"}, None),
    ],
)
def test_routes_are_named_in_the_words_of_the_facts(
    route: Json, word: str | None, map_drafts: Map, order: Build
) -> None:
    (found,) = map_drafts(order("布洛芬片", {"route": route})).facts.medications or ()
    assert found.route == word


def test_imaging_and_procedures_are_told_apart(map_drafts: Map) -> None:
    def request(own: str, text: str) -> Json:
        return {"resourceType": "ServiceRequest", "id": own, "status": "draft", "code": {"text": text}}

    facts = map_drafts(request("i", "胸部CT平扫+增强"), request("p", "胃镜检查")).facts
    assert facts.imaging is not None
    assert facts.procedures is not None
    assert (facts.imaging[0].modality, facts.imaging[0].contrast) == ("CT", True)
    assert facts.procedures[0].name == "胃镜检查"


def test_an_order_that_no_check_covers_is_named(map_drafts: Map) -> None:
    mapped = map_drafts({"resourceType": "NutritionOrder", "id": "n"})
    assert NoteKind.NOT_COVERED in kinds(mapped)


def test_a_whole_record_is_split_into_action_and_data(order: Build, drugs: Drugs, at: dt.datetime) -> None:
    resources = [
        {"resourceType": "Patient", "id": "p", "gender": "female"},
        order("布洛芬片", status="active"),
        order("华法林钠片", own="old", status="stopped"),
        {"resourceType": "Claim"},
        "rubbish",
        None,
    ]
    action, data = from_bundle({"resourceType": "Bundle", "entry": [{"resource": one} for one in resources]})
    mapped = to_facts(action, data, drugs, at, Settings())
    assert [one.name for one in mapped.facts.medications or ()] == ["布洛芬片"]
    assert mapped.facts.patient.sex == "female"


@pytest.mark.parametrize(
    ("name", "bare"),
    [
        ("布洛芬片 0.2g×20片/盒", "布洛芬片"),
        ("对乙酰氨基酚片(0.5g*12片)", "对乙酰氨基酚片"),
        ("注射用青霉素钠 80万单位/支", "注射用青霉素钠"),
        ("左氧氟沙星注射液 100ml:0.5g", "左氧氟沙星注射液"),
        ("阿莫西林0.5g/克拉维酸0.125g", "阿莫西林0.5g/克拉维酸"),
        ("布洛芬片", "布洛芬片"),
    ],
)
def test_a_specification_at_the_end_is_no_part_of_the_name(name: str, bare: str) -> None:
    assert without_pack(name) == bare
