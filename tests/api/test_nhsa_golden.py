"""Every rule of the insurer, from its wire to its answer: one message that fires, one that does not."""

from __future__ import annotations

import datetime as dt
import json
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from adapters.gm_crypto.sm3 import sm3
from adapters.insurance.answer import Part, to_part
from adapters.insurance.mapping import read_audit
from adapters.insurance.settings import Settings
from adapters.releases.folder import read_folder
from engine.evaluate import evaluate
from engine.lint import examine
from engine.release import read_release
from engine.snapshot import Snapshot
from rules import FOLDER

EXAMPLE = Path(__file__).parents[2] / "docs" / "examples" / "3101.json"
AT = dt.datetime(2026, 3, 1, 10, 10, tzinfo=dt.timezone(dt.timedelta(hours=8)))
Changes = dict[str, Any]


class Family(NamedTuple):
    """A rule, a message on which it fires with this amount, and the change that silences it."""

    rule: str
    lines: list[Changes]
    amount: str
    calmed: list[Changes]
    patient: Changes | None = None
    visit: Changes | None = None
    calmed_patient: Changes | None = None
    calmed_visit: Changes | None = None
    earlier: list[Changes] | None = None
    calmed_earlier: list[Changes] | None = None


def drug(table: str, name: str, **changes: Any) -> Changes:
    """Return a line of a drug with the first code that the knowledge table has for it."""
    path = FOLDER / "knowledge" / f"insurance_{table}.csv"
    rows = (row.split(",") for row in path.read_text(encoding="utf-8").splitlines())
    code = next(row[0] for row in rows if row[1] == name)
    return {"hilist_type": "101", "hilist_code": code, "hilist_name": name, **changes}


def service(code: str, name: str, **changes: Any) -> Changes:
    return {"hilist_type": "201", "hilist_code": code, "hilist_name": name, **changes}


def piece(name: str, **changes: Any) -> Changes:
    return {"hilist_type": "102", "hilist_code": f"T{len(name)}", "hilist_name": name, **changes}


def priced(count: str, price: str, amount: str) -> Changes:
    return {"cnt": count, "pric": price, "sumamt": amount}


CHILD = {"brdy": "2020-01-01"}
HBA1C = service("002503020030000", "糖化血红蛋白测定", **priced("1", "70", "70"))
PTCA = service("003205000020000", "经皮冠状动脉腔内成形术(PTCA)", **priced("1", "3000", "3000.00"))
ANGIOGRAPHY = service("003205000010000", "冠状动脉造影术", **priced("1", "1200", "1200.00"))
HERB = drug("drug_sex", "益母草颗粒", **priced("1", "18.25", "18.25"))
COURSE = drug("drug_course", "注射用七叶皂苷钠", **priced("1", "20", "20"))

FAMILIES = [
    Family("insurance.drug_one_sex", [HERB], "18.25", [HERB], calmed_patient={"gend": "2"}),
    Family(
        "insurance.drug_child_only",
        [drug("drug_child", "小儿感冒颗粒", **priced("1", "22", "22.00"))],
        "22.00",
        [drug("drug_child", "小儿感冒颗粒")],
        calmed_patient=CHILD,
    ),
    Family(
        "insurance.drug_limited_to_children",
        [drug("drug_child", "玛巴洛沙韦干混悬剂", **priced("1", "220", "220"))],
        "220.00",
        [drug("drug_child", "玛巴洛沙韦干混悬剂")],
        calmed_patient=CHILD,
    ),
    Family(
        "insurance.drug_hospital_level",
        [drug("drug_level", "丹参注射液", **priced("2", "29.10", "58.20"))],
        "58.20",
        [drug("drug_level", "丹参注射液")],
        visit={"medins_lv": "08"},
        calmed_visit={"medins_lv": "05"},
    ),
    Family(
        "insurance.drug_visit_kind",
        [drug("drug_visit", "安宫牛黄丸", **priced("1", "780", "780"))],
        "780.00",
        [drug("drug_visit", "安宫牛黄丸")],
        visit={"med_type": "11"},
        calmed_visit={"med_type": "13"},
    ),
    Family(
        "insurance.drug_work_injury",
        [drug("drug_cover", "疤痕止痒软化膏", **priced("1", "45", "45"))],
        "45.00",
        [drug("drug_cover", "疤痕止痒软化膏")],
        calmed_visit={"insutype": "410"},
    ),
    Family(
        "insurance.drug_maternity",
        [drug("drug_cover", "地诺前列酮栓", **priced("1", "600", "600"))],
        "600.00",
        [drug("drug_cover", "地诺前列酮栓")],
        calmed_visit={"med_type": "52"},
    ),
    Family(
        "insurance.drug_paid_course",
        [COURSE | {"drord_begn_date": "2026-03-01"}],
        "20.00",
        [COURSE],
        earlier=[COURSE | {"drord_begn_date": f"2026-02-{day:02}"} for day in range(1, 11)],
        calmed_earlier=[COURSE | {"drord_begn_date": "2026-02-01"}],
    ),
    Family(
        "insurance.service_paid_course",
        [service("003402000210000", "减重支持系统训练", **priced("1", "40", "40"))],
        "40.00",
        [service("003402000210000", "减重支持系统训练")],
        earlier=[
            service("003402000210000", "减重支持系统训练", drord_begn_date=f"2026-01-{day:02}")
            for day in range(1, 31)
        ],
        calmed_earlier=[HBA1C],
    ),
    Family(
        "insurance.service_sex",
        [service("003313030090000", "子宫颈截除术", **priced("1", "900", "900"))],
        "900.00",
        [service("003313030090000", "子宫颈截除术")],
        calmed_patient={"gend": "2"},
    ),
    Family(
        "insurance.service_child_only",
        [service("001204000070000", "小儿头皮静脉输液", **priced("1", "8", "8"))],
        "8.00",
        [service("001204000070000", "小儿头皮静脉输液")],
        calmed_patient=CHILD,
    ),
    Family(
        "insurance.service_newborn_only",
        [service("003112020090000", "新生儿兰光治疗", **priced("1", "30", "30"))],
        "30.00",
        [service("003112020090000", "新生儿兰光治疗")],
        calmed_patient={"brdy": "20260225"},
    ),
    Family(
        "insurance.service_duplicate_charge",
        [ANGIOGRAPHY, PTCA],
        "1200.00",
        [ANGIOGRAPHY, PTCA | {"drord_begn_date": "20260228090000"}],
    ),
    Family(
        "insurance.service_frequency",
        [service("001102000050000", "住院诊查费", **priced("3", "20", "60"))],
        "40.00",
        [service("001102000050000", "住院诊查费", cnt=1)],
    ),
    Family(
        "insurance.service_cycle",
        [HBA1C],
        "70.00",
        [HBA1C],
        earlier=[HBA1C | {"drord_begn_date": "2026-02-25"}],
        calmed_earlier=[HBA1C | {"drord_begn_date": "2025-11-01"}],
    ),
    Family(
        "insurance.service_price_ceiling",
        [service("003107010220000", "心电监测", **priced("24", "7", "168"))],
        "24.00",
        [service("003107010220000", "心电监测", **priced("24", "6", "144"))],
    ),
    Family(
        "insurance.amount_arithmetic",
        [service("1", "换药", **priced("3", "12.50", "40.00"))],
        "2.50",
        [service("1", "换药", **priced("3", "12.50", "37.50"))],
    ),
    Family(
        "insurance.fee_outside_stay",
        [service("1", "换药", drord_begn_date="2026-02-20", **priced("1", "15", "15"))],
        "15.00",
        [service("1", "换药")],
    ),
    Family(
        "insurance.drug_kinds_per_prescription",
        [{"hilist_type": "101", "hilist_code": f"X{n}", "rxno": "R9"} for n in range(6)],
        "0.00",
        [{"hilist_type": "101", "hilist_code": f"X{n}", "rxno": "R9"} for n in range(5)],
        visit={"med_type": "11"},
        calmed_visit={"med_type": "11"},
    ),
    Family(
        "insurance.decoction_incompatible",
        [piece("甘草", **priced("1", "3", "3")), piece("京大戟", **priced("1", "4", "4"))],
        "3.00",
        [piece("甘草"), piece("京大戟", rxno="R77")],
    ),
    Family(
        "insurance.decoction_not_paid",
        [piece("阿胶", **priced("1", "120", "120"))],
        "120.00",
        [piece("阿胶", sumamt="120", ownpay_amt="120", selfpay_amt="0")],
    ),
    Family(
        "insurance.split_admission",
        [HBA1C],
        "4256.50",
        [HBA1C],
        earlier=[HBA1C],
        calmed_earlier=[HBA1C],
        visit={"adm_date": "2026-02-08 09:00:00"},
        calmed_visit={"adm_date": "2026-02-27 09:00:00"},
    ),
    Family(
        "insurance.diagnosis_sex",
        [],
        "0.00",
        [],
        visit={"fsi_diagnose_dtos": {"dise_id": "1", "dise_codg": "c56.x00", "dise_name": "卵巢恶性肿瘤"}},
    ),
]


@pytest.fixture(scope="module")
def snapshot() -> Snapshot:
    files, _ = read_folder(FOLDER)
    release, _ = read_release(files, sm3)
    found, _ = examine(release)
    return found


def asked(
    lines: list[Changes],
    patient: Changes | None = None,
    visit: Changes | None = None,
    earlier: list[Changes] | None = None,
) -> Any:
    """Return the example with other lines, and with an earlier stay at the same hospital when asked for."""
    body = json.loads(EXAMPLE.read_text(encoding="utf-8"))
    body["mdtrtarea_admvs"] = "999999"
    person = body["input"]["data"]["patient_dtos"][0]
    current = person["fsi_encounter_dtos"][0]
    pattern = current["fsi_order_dtos"][0]
    current["fsi_order_dtos"] = _lines(pattern, lines)
    if earlier is not None:
        stay = {"mdtrt_id": "M0000", "adm_date": "2026-01-20 08:00:00", "dscg_date": "2026-02-05 08:00:00"}
        person["fsi_encounter_dtos"].append(current | stay | {"fsi_order_dtos": _lines(pattern, earlier)})
    current |= visit or {}
    person |= patient or {}
    return body


def _lines(pattern: Changes, lines: list[Changes]) -> list[Changes]:
    return [pattern | {"rx_id": f"O{number}"} | line for number, line in enumerate(lines, start=1)]


def answer(snapshot: Snapshot, rule: str, body: Any) -> Part:
    settings = Settings()
    request = read_audit(body, "3101", settings, snapshot.drugs.resolve)
    (audit,) = request.audits
    only = frozenset({rule})
    decision = evaluate(snapshot, audit.facts, AT, request.stage, only)
    part, _ = to_part(decision, "d", True, audit, request, settings, only)
    return part


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.rule)
def test_a_message_with_the_violation_is_answered_with_it(snapshot: Snapshot, family: Family) -> None:
    part = answer(snapshot, family.rule, asked(family.lines, family.patient, family.visit, family.earlier))
    assert part.result, part.not_checked
    found = part.result[0]
    assert found["rule_id"] == (snapshot.rules[family.rule].official_code or family.rule)
    assert str(found["vola_amt"]) == family.amount
    assert found["sev_deg"] in ("1", "2", "3")
    assert len(str(found["vola_cont"])) <= 500
    assert "{" not in str(found["vola_cont"])
    assert "未知" not in str(found["vola_cont"])


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.rule)
def test_a_message_without_it_passes(snapshot: Snapshot, family: Family) -> None:
    patient, visit = family.calmed_patient, family.calmed_visit
    if family.rule == "insurance.diagnosis_sex":
        visit = {"fsi_diagnose_dtos": {"dise_id": "1", "dise_codg": "c61.x00", "dise_name": "前列腺恶性肿瘤"}}
    part = answer(snapshot, family.rule, asked(family.calmed, patient, visit, family.calmed_earlier))
    assert (part.result, part.not_checked) == ([], [])
    assert part.decision["status"] == "passed"


def test_every_rule_of_the_insurer_has_its_pair_of_messages(snapshot: Snapshot) -> None:
    shipped = {rule for rule in snapshot.rules if rule.startswith("insurance.")}
    assert {family.rule for family in FAMILIES} == shipped


def test_without_history_the_rules_that_need_it_say_so(snapshot: Snapshot) -> None:
    for rule, line in (("insurance.drug_paid_course", COURSE), ("insurance.service_cycle", HBA1C)):
        part = answer(snapshot, rule, asked([line]))
        assert part.result == []
        assert [gap["missing"] for gap in part.not_checked] == [["past_charge"]]
        assert part.not_checked[0]["rx_ids"] == ["O1"]
