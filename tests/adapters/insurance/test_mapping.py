"""The insurer's wire becomes facts; what it does not say stays unknown."""

from __future__ import annotations

import contextlib
import datetime as dt
import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.insurance.mapping import Audit, read_audit
from adapters.insurance.packs import pack_mg
from adapters.insurance.reading import ShapeError
from adapters.insurance.settings import Settings, read
from engine.decision import Stage
from engine.drugs import Drug
from engine.errors import FactsError

EXAMPLE = Path(__file__).parents[3] / "docs" / "examples" / "3101.json"


def known_drug(codes: tuple[tuple[str, str], ...], name: str | None) -> Drug | None:
    """Know two drugs, as a dictionary of a release would."""
    if name in {"阿莫西林胶囊", "amoxicillin"}:
        return Drug(frozenset({"amoxicillin"}), frozenset({"amoxicillin", "penicillin"}))
    if name == "氨酚羟考酮片":
        return Drug(
            frozenset({"paracetamol", "oxycodone"}), frozenset({"paracetamol", "oxycodone", "opioid"})
        )
    if name == "oxycodone":
        return Drug(frozenset({"oxycodone"}), frozenset({"oxycodone", "opioid"}))
    return None


def message() -> Any:
    return json.loads(EXAMPLE.read_text(encoding="utf-8"))


def patient_of(body: Any) -> Any:
    return body["input"]["data"]["patient_dtos"][0]


def visit_of(body: Any) -> Any:
    return patient_of(body)["fsi_encounter_dtos"][0]


def line_of(body: Any, position: int = 0) -> Any:
    return visit_of(body)["fsi_order_dtos"][position]


def audit(body: Any, settings: Settings | None = None, infno: str = "3101") -> Audit:
    return read_audit(body, infno, settings or Settings(), known_drug).audits[0]


def test_the_example_is_read_without_a_note() -> None:
    found = audit(message())
    assert found.notes == ()
    facts = found.facts
    assert (facts.patient.id, facts.patient.sex, facts.patient.birth_date) == (
        "P000001",
        "male",
        dt.date(1968, 5, 1),
    )
    assert (facts.visit.kind, facts.visit.insurance, facts.visit.hospital_level) == (
        "inpatient",
        "employee",
        3.0,
    )
    assert facts.visit.end is None
    assert facts.charges is not None
    assert [charge.in_focus for charge in facts.charges] == [True, False, True]
    assert facts.charges[0].fund_amount == Decimal("36.50")
    assert facts.charges[0].day == dt.date(2026, 3, 1)
    assert found.lines["O1"].rx_id == "O1"


def test_the_patients_name_is_nowhere_in_the_facts() -> None:
    body = message()
    patient_of(body)["patn_name"] = "欧阳不该出现"
    assert "欧阳不该出现" not in repr(audit(body))


@pytest.mark.parametrize(
    ("written", "amount"),
    [
        ("36.50", Decimal("36.50")),
        (36.5, Decimal("36.5")),
        (36, Decimal(36)),
        ("1,036.50", Decimal("1036.50")),
        ("3.65E+1", Decimal("36.5")),
        (Decimal("36.50"), Decimal("36.50")),
        ("-", None),
        ("", None),
        (None, None),
        ("三十六", None),
        (True, None),
        ([36], None),
        ("1e400", None),
        (Decimal("1E+400"), None),
        ("NaN", None),
    ],
)
def test_a_number_is_read_however_it_is_written_and_never_made_up(
    written: object, amount: Decimal | None
) -> None:
    body = message()
    line_of(body)["sumamt"] = written
    charges = audit(body).facts.charges
    assert charges is not None
    assert charges[0].amount == amount
    assert charges[0].fund_amount == amount  # unknown, not minus what the patient pays


@pytest.mark.parametrize("written", ["三十六", [36], True])
def test_what_cannot_be_read_is_noted_with_its_path_and_without_its_value(written: object) -> None:
    body = message()
    line_of(body)["sumamt"] = written
    (note,) = audit(body).notes
    assert note.path == "$.input.data.patient_dtos[0].fsi_encounter_dtos[0].fsi_order_dtos[0].sumamt"
    assert "三十六" not in note.what


@pytest.mark.parametrize(
    ("written", "moment"),
    [
        ("2026-03-01", dt.datetime(2026, 3, 1)),
        ("2026-03-01 10:20:30", dt.datetime(2026, 3, 1, 10, 20, 30)),
        ("20260301102030", dt.datetime(2026, 3, 1, 10, 20, 30)),
        ("20260301", dt.datetime(2026, 3, 1)),
        (20260301, dt.datetime(2026, 3, 1)),
        ("2026-03-01T10:20", dt.datetime(2026, 3, 1, 10, 20)),
        ("2026/03/01 10:20:30", dt.datetime(2026, 3, 1, 10, 20, 30)),
        ("2026-02-30", None),
        ("-", None),
        ("9999-12-31", None),
        ("99991231000000", None),
    ],
)
def test_a_date_is_read_in_all_its_forms(written: object, moment: dt.datetime | None) -> None:
    body = message()
    visit_of(body)["dscg_date"] = written
    assert audit(body).facts.visit.end == moment


def test_an_open_discharge_is_no_fault() -> None:
    body = message()
    visit_of(body)["dscg_date"] = "9999-12-31 00:00:00"
    assert audit(body).notes == ()


@pytest.mark.parametrize("key", ["fsi_encounter_dtos", "fsi_order_dtos", "fsi_diagnose_dtos"])
def test_one_object_stands_for_a_list_of_one(key: str) -> None:
    body = message()
    holder = patient_of(body) if key == "fsi_encounter_dtos" else visit_of(body)
    holder[key] = holder[key][0]
    facts = audit(body).facts
    assert facts.charges
    assert facts.diagnoses


def test_upper_case_keys_and_lower_case_codes_are_read() -> None:
    def upper(value: Any) -> Any:
        if isinstance(value, dict):
            return {key.upper(): upper(item) for key, item in value.items()}
        return [upper(item) for item in value] if isinstance(value, list) else value

    body = message()
    line_of(body)["hilist_code"] = line_of(body)["hilist_code"].lower()
    visit_of(body)["dscg_main_dise_codg"] = "i20.000"
    expected, found = audit(message()).facts, audit(upper(body)).facts
    assert found == expected


def test_unknown_keys_are_passed_over() -> None:
    body = message()
    body["enc_type"] = {"any": ["thing"]}
    line_of(body)["regional_extra"] = [1, 2]
    assert audit(body) == audit(message())


@pytest.mark.parametrize(
    ("scenes", "infno", "stage"),
    [
        ("2", "3101", Stage.BEFORE),
        ("4,5", "3101", Stage.BEFORE),
        ("7，9", "3102", Stage.DURING),
        (9, "3101", Stage.DURING),
        ("02", "3102", Stage.BEFORE),
        ("2,9", "3102", Stage.DURING),
        ("", "3102", Stage.DURING),
        (None, "3101", Stage.BEFORE),
        ("77", "3101", Stage.BEFORE),
        (["6", "8"], "3102", Stage.DURING),
    ],
)
def test_the_scene_says_the_stage_and_the_transaction_says_it_otherwise(
    scenes: object, infno: str, stage: Stage
) -> None:
    body = message()
    body["input"]["data"]["trig_scen"] = scenes
    assert read_audit(body, infno, Settings(), known_drug).stage is stage


@pytest.mark.parametrize("rule_ids", [["A", "B"], "A,B", ["A,B"]])
def test_rules_may_be_named_in_a_list_or_with_commas(rule_ids: object) -> None:
    body = message()
    body["input"]["data"]["rule_ids"] = rule_ids
    assert read_audit(body, "3101", Settings(), known_drug).rule_ids == ("A", "B")


@pytest.mark.parametrize(
    ("key", "code", "field", "word"),
    [
        ("med_type", "13", "kind", "emergency"),
        ("med_type", "1402", "kind", "outpatient"),
        ("med_type", "21", "kind", "inpatient"),
        ("med_type", "28", "kind", "day_surgery"),
        ("med_type", "-", "kind", "inpatient"),  # med_mdtrt_type says 2
        ("insutype", "390", "insurance", "resident"),
        ("insutype", "410", "insurance", "work_injury"),
        ("insutype", "777", "insurance", None),
        ("medins_lv", "5", "hospital_level", 2.0),
        ("medins_lv", "11", "hospital_level", 0.0),
        ("medins_lv", "-", "hospital_level", None),
    ],
)
def test_codes_of_a_visit_become_our_words(key: str, code: str, field: str, word: object) -> None:
    body = message()
    visit_of(body)[key] = code
    assert getattr(audit(body).facts.visit, field) == word


def test_a_maternity_visit_of_an_employee_is_under_maternity_cover() -> None:
    body = message()
    visit_of(body)["med_type"] = "52"
    visit = audit(body).facts.visit
    assert (visit.kind, visit.insurance) == ("inpatient", "maternity")


@pytest.mark.parametrize(
    ("stated", "state"), [("0", "neither"), ("1", "pregnant"), ("2", "lactating"), ("", None)]
)
def test_the_pregnancy_state_is_read(stated: str, state: str | None) -> None:
    body = message()
    visit_of(body)["matn_stas"] = stated
    assert audit(body).facts.patient.pregnancy == state


@pytest.mark.parametrize("gender", ["0", "9", "-", None])
def test_an_unstated_sex_is_unknown(gender: str | None) -> None:
    body = message()
    patient_of(body)["gend"] = gender
    assert audit(body).facts.patient.sex is None


def test_history_that_was_not_sent_is_unknown_unless_the_site_vouches_for_it() -> None:
    facts = audit(message()).facts
    assert (facts.past_visits, facts.past_charges) == (None, None)
    facts = audit(message(), Settings(complete_history=True)).facts
    assert (facts.past_visits, facts.past_charges) == ((), ())


def test_other_encounters_are_history() -> None:
    body = message()
    earlier = json.loads(json.dumps(visit_of(body)))
    earlier |= {"mdtrt_id": "M0000", "adm_date": "2026-01-01", "dscg_date": "2026-01-05"}
    patient_of(body)["fsi_encounter_dtos"].insert(0, earlier)
    found = audit(body)
    facts = found.facts
    assert facts.visit.id == "M0001"
    assert facts.past_visits is not None
    assert facts.past_charges is not None
    assert [visit.id for visit in facts.past_visits] == ["M0000"]
    assert {charge.visit_id for charge in facts.past_charges} == {"M0000"}
    assert not any(charge.in_focus for charge in facts.past_charges)
    assert found.lines[facts.past_charges[0].id].mdtrt_id == "M0000"


def test_an_earlier_visit_without_its_orders_leaves_earlier_charges_unknown() -> None:
    body = message()
    patient_of(body)["fsi_encounter_dtos"].append(
        {"mdtrt_id": "M0000", "med_type": "21", "dscg_date": "2026-01-05"}
    )
    facts = audit(body).facts
    assert facts.past_visits is not None
    assert facts.past_charges is None


def test_orders_that_were_not_sent_are_unknown_and_none_sent_are_none() -> None:
    body = message()
    del visit_of(body)["fsi_order_dtos"]
    assert audit(body).facts.charges is None
    assert audit(body).facts.medications is None
    visit_of(body)["fsi_order_dtos"] = []
    assert audit(body).facts.charges == ()


def test_when_no_line_is_marked_as_new_all_are_checked() -> None:
    body = message()
    for line in visit_of(body)["fsi_order_dtos"]:
        line["curr_drord_flag"] = "0"
    charges = audit(body).facts.charges
    assert charges is not None
    assert all(charge.in_focus for charge in charges)


def test_a_line_that_does_not_say_whether_it_is_new_is_checked() -> None:
    body = message()
    line_of(body, 1)["curr_drord_flag"] = "-"
    charges = audit(body).facts.charges
    assert charges is not None
    assert charges[1].in_focus


def test_repeated_and_missing_line_ids_stay_apart_and_are_noted() -> None:
    body = message()
    line_of(body, 1)["rx_id"] = "O1"
    line_of(body, 2)["rx_id"] = ""
    found = audit(body)
    assert found.facts.charges is not None
    ids = [charge.id for charge in found.facts.charges]
    assert len(set(ids)) == 3
    assert [found.lines[one].rx_id for one in ids] == ["O1", "O1", ""]
    assert len(found.notes) == 2


def test_a_known_drug_has_its_components_and_no_dose() -> None:
    body = message()
    line_of(body)["hilist_name"] = "氨酚羟考酮片"
    facts = audit(body).facts
    assert facts.medications is not None
    assert facts.components is not None
    assert facts.medications[0].ingredients == frozenset({"paracetamol", "oxycodone"})
    by_ingredient = {part.ingredient: part for part in facts.components}
    assert by_ingredient["oxycodone"].agents == frozenset({"oxycodone", "opioid"})
    assert by_ingredient["paracetamol"].agents is None  # the dictionary here does not know it alone
    assert {part.daily_mg for part in facts.components} == {None}


def test_an_unknown_drug_has_one_unknown_component_so_that_no_check_passes_it_by() -> None:
    facts = audit(message()).facts
    assert facts.components is not None
    assert [part.ingredient for part in facts.components] == [None]


def test_a_dose_from_the_pack_is_taken_only_where_the_site_asks_for_it() -> None:
    body = message()
    line_of(body).update(
        hilist_name="阿莫西林胶囊",
        spec="0.25g×24粒/盒",
        cnt="2",
        drord_begn_date="2026-03-01",
        drord_stop_date="2026-03-07",
    )
    plain, asked = audit(body).facts, audit(body, Settings(dose_from_pack=True)).facts
    assert plain.components is not None
    assert asked.components is not None
    assert plain.components[0].daily_mg is None
    assert asked.components[0].daily_mg == pytest.approx(2000)


@pytest.mark.parametrize(
    ("spec", "mg"),
    [
        ("0.25g×12片/盒", 3000),
        ("500mg*10粒", 5000),
        ("50μg×100片/瓶", 5),
        ("10ml:5mg×5支", None),
        ("盒", None),
    ],
)
def test_a_pack_is_read_only_as_a_whole(spec: str, mg: float | None) -> None:
    assert pack_mg(spec) == (None if mg is None else pytest.approx(mg))


@pytest.mark.parametrize(
    ("spoil", "path"),
    [
        (lambda body: body.pop("input"), "$.input"),
        (lambda body: body["input"].pop("data"), "$.input.data"),
        (lambda body: body["input"]["data"].update(patient_dtos=[]), "$.input.data.patient_dtos"),
        (lambda body: body["input"]["data"].update(patient_dtos=[5]), "$.input.data.patient_dtos[0]"),
        (
            lambda body: patient_of(body).pop("fsi_encounter_dtos"),
            "$.input.data.patient_dtos[0].fsi_encounter_dtos",
        ),
        (
            lambda body: visit_of(body).update(fsi_order_dtos="all"),
            "$.input.data.patient_dtos[0].fsi_encounter_dtos[0].fsi_order_dtos",
        ),
    ],
)
def test_a_wrong_shape_is_refused_with_its_path(spoil: Any, path: str) -> None:
    body = message()
    spoil(body)
    with pytest.raises(ShapeError) as refused:
        audit(body)
    assert refused.value.path == path


@pytest.mark.parametrize(
    ("spoil", "path"),
    [
        (lambda body: patient_of(body).update(patn_id="-"), "$.input.data.patient_dtos[0].patn_id"),
        (
            lambda body: patient_of(body).update(curr_mdtrt_id="other"),
            "$.input.data.patient_dtos[0].curr_mdtrt_id",
        ),
        (
            lambda body: body["input"]["data"]["patient_dtos"].append(patient_of(body)),
            "$.input.data.patient_dtos[1].patn_id",
        ),
        (
            lambda body: patient_of(body)["fsi_encounter_dtos"].append(visit_of(body)),
            "$.input.data.patient_dtos[0].fsi_encounter_dtos[1].mdtrt_id",
        ),
    ],
)
def test_a_message_that_contradicts_itself_is_refused_with_the_path(spoil: Any, path: str) -> None:
    body = message()
    spoil(body)
    with pytest.raises(FactsError) as refused:
        audit(body)
    assert not isinstance(refused.value, ShapeError)
    assert refused.value.path == path


def test_a_message_of_too_many_persons_or_lines_is_refused() -> None:
    body = message()
    body["input"]["data"]["patient_dtos"] = [patient_of(body) | {"patn_id": f"P{n}"} for n in range(3)]
    with pytest.raises(FactsError, match="2 persons"):
        audit(body, Settings(max_patients=2))
    with pytest.raises(FactsError, match="2 lines"):
        audit(message(), Settings(max_orders=2))


def test_the_only_visit_is_the_current_one_when_none_is_named() -> None:
    body = message()
    del patient_of(body)["curr_mdtrt_id"]
    assert audit(body).facts.visit.id == "M0001"


def test_settings_come_from_one_variable_and_a_fault_names_it() -> None:
    assert read({}) == Settings()
    assert read({"RULEWARD_INSURANCE_SETTINGS": '{"complete_history": true}'}).complete_history
    with pytest.raises(ValueError, match="RULEWARD_INSURANCE_SETTINGS"):
        read({"RULEWARD_INSURANCE_SETTINGS": '{"complete_histroy": true}'})


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.decimals(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=10,
)
PATHS = [
    lambda body: body,
    lambda body: body["input"],
    lambda body: body["input"]["data"],
    patient_of,
    visit_of,
    line_of,
    lambda body: visit_of(body)["fsi_diagnose_dtos"][0],
]


@given(JSON)
def test_whatever_json_comes_is_read_or_refused(body: Any) -> None:
    with contextlib.suppress(FactsError):
        read_audit(body, "3101", Settings(), known_drug)


@given(st.sampled_from(PATHS), st.data())
def test_whatever_stands_under_a_known_key_is_read_or_refused(node: Any, data: st.DataObject) -> None:
    body = message()
    holder = node(body)
    for key in data.draw(st.lists(st.sampled_from(sorted(holder)), min_size=1, max_size=4)):
        holder[key] = data.draw(JSON)
    with contextlib.suppress(FactsError):
        read_audit(body, "3102", Settings(dose_from_pack=True), known_drug)
