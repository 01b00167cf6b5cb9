"""3101, 3102 and 3103 over HTTP, on the shipped rules, with a decision log held in memory."""

from __future__ import annotations

import datetime as dt
import json
import re
from collections.abc import AsyncIterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from adapters.gm_crypto.sm3 import sm3
from adapters.insurance.settings import Settings
from adapters.releases.folder import read_folder
from api.deciding import DecisionService
from api.nhsa import router
from engine.decision import Decision
from engine.errors import NotRecorded, ReusedKey
from engine.lint import examine
from engine.ports import Entry, FeedbackEntry, Recorded
from engine.release import read_release
from engine.snapshot import Snapshot
from rules import FOLDER

EXAMPLE = Path(__file__).parents[2] / "docs" / "examples" / "3101.json"
pytestmark = pytest.mark.anyio


class Clock:
    """A clock that goes on a second with every look at it."""

    def __init__(self) -> None:
        self.now = dt.datetime(2026, 3, 1, 10, 10, tzinfo=dt.timezone(dt.timedelta(hours=8)))

    def __call__(self) -> dt.datetime:
        self.now += dt.timedelta(seconds=1)
        return self.now


class Log:
    """A decision log in memory, which can be told to fail."""

    def __init__(self) -> None:
        self.entries: dict[str, Entry] = {}
        self.feedback: set[FeedbackEntry] = set()
        self.broken = False

    async def append(self, entry: Entry, /) -> Recorded:
        if self.broken:
            raise NotRecorded("the disk is full")
        held = self.entries.setdefault(entry.key, entry)
        if held.request_digest != entry.request_digest:
            raise ReusedKey(entry.key)
        return Recorded(held.id, held.answer, held is entry)

    async def find(self, key: str, request_digest: str, /) -> Recorded | None:
        held = self.entries.get(key)
        return Recorded(held.id, held.answer, fresh=False) if held else None

    async def append_feedback(self, entries: tuple[FeedbackEntry, ...], /) -> None:
        self.feedback |= set(entries)


class Held:
    """The snapshot in force, or none."""

    def __init__(self, snapshot: Snapshot | None) -> None:
        self.snapshot = snapshot

    def now(self) -> Snapshot | None:
        return self.snapshot


class NoMeter:
    """Counts nothing."""

    def decided(self, interface: str, decision: Decision, seconds: float, *, recorded: bool) -> None:
        """Pass by."""


class Site:
    """One service with its log, spoken to over HTTP."""

    def __init__(self, http: httpx.AsyncClient, log: Log, held: Held) -> None:
        self.http, self.log, self.held = http, log, held

    async def send(self, body: Any, path: str = "/nhsa") -> Any:
        answer = await self.http.post(path, content=json.dumps(body, ensure_ascii=False).encode())
        assert answer.status_code == 200, answer.text
        return answer.json()


@pytest.fixture(scope="module")
def snapshot() -> Snapshot:
    files, faults = read_folder(FOLDER)
    release, more = read_release(files, sm3)
    assert not [*faults, *more]
    found, _ = examine(release)
    return found


@pytest.fixture
async def site(snapshot: Snapshot) -> AsyncIterator[Site]:
    log, held, clock = Log(), Held(snapshot), Clock()
    service = DecisionService(held, log, sm3, clock, NoMeter())
    app = FastAPI()
    app.include_router(router(service, Settings(max_bytes=200_000), clock))
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test") as http:
        yield Site(http, log, held)


def message(msgid: str = "H1", **data: Any) -> Any:
    body = json.loads(EXAMPLE.read_text(encoding="utf-8"))
    body["msgid"] = msgid
    body["input"]["data"] |= data
    return body


def patient_of(body: Any) -> Any:
    return body["input"]["data"]["patient_dtos"][0]


def visit_of(body: Any) -> Any:
    return patient_of(body)["fsi_encounter_dtos"][0]


async def test_the_example_finds_the_drug_for_the_other_sex_and_the_double_charge(site: Site) -> None:
    answer = await site.send(message())
    assert answer["infcode"] == 0
    assert re.fullmatch(r"310100\d{24}", answer["inf_refmsgid"])
    by_rule = {found["rule_id"]: found for found in answer["output"]["result"]}
    assert set(by_rule) == {"GZ10000301004000", "GZ10000102012000"}
    drug = by_rule["GZ10000301004000"]
    assert (drug["sev_deg"], drug["vola_amt_stas"], drug["vola_bhvr_type"]) == ("1", "1", "T380601")
    assert drug["task_id"] == "T20260301001"
    assert "益母草颗粒" in drug["vola_cont"]
    assert "国家医保局" in drug["vola_evid"]
    lines = by_rule["GZ10000102012000"]["judge_result_detail_dtos"]
    assert [(line["rx_id"], line["vola_item_type"], line["mdtrt_id"]) for line in lines] == [
        ("O3", "1", "M0001"),
        ("O2", "2", "M0001"),
    ]


async def test_amounts_are_exact_numbers_with_two_digits(site: Site) -> None:
    answer = await site.http.post("/nhsa", content=EXAMPLE.read_bytes())
    assert '"vola_amt":36.50' in answer.text
    found = json.loads(answer.text, parse_float=Decimal)["output"]["result"]
    assert {one["vola_amt"] for one in found} == {Decimal("36.50"), Decimal("1220.00")}


async def test_no_answer_holds_the_patients_name(site: Site) -> None:
    body = message()
    patient_of(body)["patn_name"] = "欧阳不该出现"
    visit_of(body)["adm_date"] = "欧阳不该出现"
    answer = await site.send(body)
    assert "欧阳不该出现" not in json.dumps(answer, ensure_ascii=False)
    assert all(b"\xe6\xac\xa7\xe9\x98\xb3" not in entry.trace for entry in site.log.entries.values())


async def test_what_was_not_checked_is_named_and_never_looks_like_a_pass(site: Site) -> None:
    body = message(rule_ids=["insurance.split_admission"])
    output = (answer := await site.send(body))["output"]
    assert output["result"] == []
    assert [(gap["rule_id"], gap["missing"]) for gap in output["not_checked"]] == [
        ("insurance.split_admission", ["past_visit"])
    ]
    assert output["decisions"][0]["status"] == "not_checked"
    assert "未审核" in answer["warn_msg"]


async def test_a_rule_named_by_its_official_code_runs_alone(site: Site) -> None:
    output = (await site.send(message(rule_ids="GZ10000301004000")))["output"]
    assert [found["rule_id"] for found in output["result"]] == ["GZ10000301004000"]
    assert output["not_checked"] == []


async def test_a_clean_visit_says_passed_only_for_the_rules_that_ran(site: Site) -> None:
    body = message(rule_ids="GZ10000301004000")
    patient_of(body)["gend"] = "2"
    answer = await site.send(body)
    assert answer["output"]["result"] == []
    assert answer["output"]["decisions"][0]["status"] == "passed"
    assert answer["warn_msg"] == ""


@pytest.mark.parametrize("rule", ["R01", "insurance.no_such_rule", "GZ10000399999000"])
async def test_an_unknown_rule_is_named_as_not_checked(site: Site, rule: str) -> None:
    answer = await site.send(message(rule_ids=[rule]))
    assert answer["output"]["decisions"][0]["status"] == "not_checked"
    assert rule in {gap["rule_id"] for gap in answer["output"]["not_checked"]}
    assert answer["warn_msg"]


async def test_the_same_msgid_gets_the_same_answer_to_the_byte(site: Site) -> None:
    body = json.dumps(message()).encode()
    first, second = [await site.http.post("/nhsa", content=body) for _ in range(2)]
    assert first.content == second.content
    assert len(site.log.entries) == 1


async def test_the_same_msgid_with_another_content_is_refused(site: Site) -> None:
    await site.send(message())
    body = message()
    patient_of(body)["gend"] = "2"
    answer = await site.send(body)
    assert answer["infcode"] == -1
    assert "H1" in answer["err_msg"]


async def test_the_region_and_the_case_of_keys_do_not_let_another_content_pass_for_a_retry(
    site: Site,
) -> None:
    await site.send(message())
    assert (await site.send(message() | {"mdtrtarea_admvs": "330100"}))["infcode"] == -1
    body = message("H2")
    await site.send({key.upper(): value for key, value in body.items()})
    patient_of(body)["gend"] = "2"
    assert (await site.send({key.upper(): value for key, value in body.items()}))["infcode"] == -1


async def test_a_retry_with_a_new_time_is_the_same_message(site: Site) -> None:
    first = await site.send(message())
    assert await site.send(message() | {"inf_time": "2026-03-01 10:15:00", "sign_no": "2"}) == first


async def test_several_patients_get_one_answer_and_a_decision_each(site: Site) -> None:
    body = message()
    second = json.loads(json.dumps(patient_of(body))) | {"patn_id": "P000002", "gend": "2"}
    body["input"]["data"]["patient_dtos"].append(second)
    output = (await site.send(body))["output"]
    assert [one["patn_id"] for one in output["decisions"]] == ["P000001", "P000002"]
    assert [entry.patient for entry in site.log.entries.values()] == ["P000001", "P000002"]
    sexed = [found["patn_id"] for found in output["result"] if found["rule_id"] == "GZ10000301004000"]
    assert sexed == ["P000001"]
    assert len({found["jr_id"] for found in output["result"]}) == len(output["result"])


async def test_a_decision_that_could_not_be_recorded_says_so(site: Site) -> None:
    site.log.broken = True
    answer = await site.send(message())
    assert not answer["output"]["decisions"][0]["recorded"]
    assert "决策日志" in answer["warn_msg"]


async def test_the_transaction_and_the_scene_choose_the_stage(site: Site) -> None:
    body = message(trig_scen="9") | {"infno": "3102"}
    output = (await site.send(body, "/nhsa/3102"))["output"]
    assert output["decisions"][0]["stage"] == "during"
    (entry,) = site.log.entries.values()
    assert (entry.interface, entry.stage) == ("nhsa-3102", "during")


def feedback(*warns: dict[str, Any]) -> Any:
    return {
        "infno": "3103",
        "msgid": "F1",
        "inf_time": "2026-03-01 10:20:00",
        "input": {"data": {"warn_type": "1", "warns": list(warns)}},
    }


async def test_a_warning_goes_round_from_3101_to_3103(site: Site) -> None:
    found = (await site.send(message()))["output"]["result"]
    jr_id = found[0]["jr_id"]
    assert any(jr_id in entry.cards for entry in site.log.entries.values())
    refused = await site.send(feedback({"warn_rslt_id": jr_id, "dspo_way": "1", "dspo_way_rea": ""}))
    assert refused["infcode"] == -1
    assert jr_id in refused["err_msg"]
    assert site.log.feedback == set()
    taken = feedback({"warn_rslt_id": jr_id, "dspo_way": "1", "dspo_way_rea": "病情需要"})
    assert (await site.send(taken))["infcode"] == 0
    assert (await site.send(taken))["infcode"] == 0
    (entry,) = site.log.feedback
    assert (entry.card, entry.outcome, entry.comment) == (jr_id, "overridden", "病情需要")


@pytest.mark.parametrize(
    ("content", "status", "path"),
    [
        (b'{"infno": "3101", ', 400, "$"),
        (b'{"infno": x}', 400, "$ (byte 10)"),
        (b"[" * 100_000, 400, "$"),
        (b"\xff\xfe", 400, "$"),
        (b"[]", 400, "$"),
        (b" " * 200_001, 413, "$"),
        (b'{"infno": "9999"}', 400, "$.infno"),
        (b'{"infno": "3101", "msgid": ""}', 400, "$.msgid"),
        (b'{"infno": "3101", "msgid": "1", "input": []}', 400, "$.input"),
        (b'{"infno": 3103, "msgid": 1, "input": {"data": {"warns": 5}}}', 400, "$.input.data.warns"),
        (
            b'{"infno": 3101, "msgid": 1, "input": {"data": {"patient_dtos": [1]}}}',
            400,
            "$.input.data.patient_dtos[0]",
        ),
    ],
)
async def test_an_unreadable_message_is_refused_with_the_path(
    site: Site, content: bytes, status: int, path: str
) -> None:
    answer = await site.http.post("/nhsa", content=content)
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"
    body = answer.json()
    assert body["path"].startswith(path)
    assert (body["status"], body["infcode"]) == (status, -1)
    assert body["err_msg"]


async def test_before_the_first_release_nothing_is_answered_as_checked(site: Site) -> None:
    site.held.snapshot = None
    answer = await site.http.post("/nhsa", content=EXAMPLE.read_bytes())
    assert answer.status_code == 503
    assert answer.json()["infcode"] == -1


async def test_an_alias_takes_only_its_own_transaction(site: Site) -> None:
    answer = await site.http.post("/nhsa/3102", content=EXAMPLE.read_bytes())
    assert answer.status_code == 400
    assert answer.json()["path"] == "$.infno"
