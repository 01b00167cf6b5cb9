"""Every case of prefetch: all sent, some, none, null, errors, pages; and nobody aims us at another host."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

import httpx
import pytest

from adapters.emr.client import FhirReader, Server, fill_template
from adapters.emr.settings import Settings
from api.prefetch import SERVICES, Prefetched, gather, needs_fetch

Json = dict[str, object]
BASE = "https://fhir.hospital.example/r4"
SIGN = SERVICES["ruleward-order-sign"]
CONTEXT: Json = {"patientId": "p1", "encounterId": "e1", "userId": "Practitioner/d"}
SITE = Settings(fhir_servers=(BASE,), fetch_seconds=1.0, max_pages=3)
EMPTY: Json = {"resourceType": "Bundle", "type": "searchset"}
OUTCOME: Json = {"resourceType": "OperationOutcome", "issue": [{"severity": "error"}]}


class Record:
    """A FHIR server that remembers what it was asked and by whom."""

    def __init__(self, answers: Mapping[str, httpx.Response] | None = None, wait: float = 0.0) -> None:
        self.asked: list[str] = []
        self.tokens: set[str | None] = set()
        self.answers = dict(answers or {})
        self.wait = wait
        self.now = self.most = 0

    async def __call__(self, request: httpx.Request) -> httpx.Response:
        self.asked.append(str(request.url))
        self.tokens.add(request.headers.get("authorization"))
        self.now += 1
        self.most = max(self.most, self.now)
        await asyncio.sleep(self.wait)
        self.now -= 1
        for part, answer in self.answers.items():
            if part in str(request.url):
                return answer
        kind = request.url.path.split("/")[2]
        if kind in ("Patient", "Encounter"):
            return httpx.Response(200, json={"resourceType": kind, "id": "p1"})
        return httpx.Response(200, json=EMPTY)


async def run(record: Record, sent: Json, server: Server | None = None, site: Settings = SITE) -> Prefetched:
    reader = FhirReader(site, httpx.AsyncClient(transport=httpx.MockTransport(record)))
    try:
        return await gather(SIGN, CONTEXT, sent, server, reader)
    finally:
        await reader.aclose()


def everything() -> Json:
    found: Json = dict.fromkeys(SIGN.keys, EMPTY)
    return {**found, "patient": {"resourceType": "Patient", "id": "p1"}, "encounter": None}


async def test_all_sent_means_that_nothing_is_read() -> None:
    record = Record()
    found = await run(record, everything(), Server(BASE, "t"))
    assert record.asked == []
    assert set(found.data) == set(SIGN.keys)
    assert found.gaps == ()
    assert not needs_fetch(SIGN, everything())


async def test_what_is_missing_is_read_at_once_and_with_the_token() -> None:
    record = Record(wait=0.05)
    sent = everything()
    for key in ("meds", "labs", "allergies"):
        del sent[key]
    found = await run(record, sent, Server(BASE, "secret"))
    assert sorted(record.asked) == sorted(
        [
            f"{BASE}/MedicationRequest?patient=p1&status=active",
            f"{BASE}/Observation?patient=p1&category=laboratory&_sort=-date&_count=50",
            f"{BASE}/AllergyIntolerance?patient=p1",
        ]
    )
    assert record.tokens == {"Bearer secret"}
    assert record.most == 3
    assert set(found.data) == set(SIGN.keys)


async def test_nothing_sent_is_all_read() -> None:
    record = Record()
    found = await run(record, {}, Server(BASE, None))
    assert len(record.asked) == len(SIGN.keys)
    assert record.tokens == {None}
    assert found.gaps == ()


async def test_nothing_sent_and_no_server_names_every_key() -> None:
    found = await run(Record(), {})
    assert {gap.key for gap in found.gaps} == set(SIGN.keys)
    assert found.data == {}


async def test_null_is_kept_as_no_data_and_not_read_again() -> None:
    record = Record()
    found = await run(record, dict.fromkeys(SIGN.keys), Server(BASE))
    assert record.asked == []
    assert found.data == dict.fromkeys(SIGN.keys)
    assert found.gaps == ()


async def test_an_error_in_the_place_of_data_is_read_again_and_stays_unknown_if_that_fails() -> None:
    sent = {**everything(), "meds": OUTCOME}
    found = await run(Record(), sent, Server(BASE))
    assert found.data["meds"] == EMPTY
    failing = Record({"MedicationRequest": httpx.Response(500, json=OUTCOME)})
    found = await run(failing, sent, Server(BASE))
    assert found.data["meds"] == OUTCOME
    found = await run(Record(), sent)
    assert found.data["meds"] == OUTCOME
    assert found.gaps == ()


@pytest.mark.parametrize(
    "answer",
    [
        httpx.Response(404),
        httpx.Response(401),
        httpx.Response(200, content=b"<html>"),
        httpx.Response(200, json=OUTCOME),
        httpx.Response(302, headers={"location": "http://169.254.169.254/"}),
        httpx.Response(200, content=b"[" * 100_000),
    ],
)
async def test_an_answer_that_is_no_data_is_a_gap(answer: httpx.Response) -> None:
    sent = everything()
    del sent["meds"]
    record = Record({"MedicationRequest": answer})
    found = await run(record, sent, Server(BASE))
    assert [gap.key for gap in found.gaps] == ["meds"]
    assert "meds" not in found.data
    assert all(url.startswith(BASE) for url in record.asked)


async def test_a_slow_server_costs_no_more_than_the_time_allowed() -> None:
    site = Settings(fhir_servers=(BASE,), fetch_seconds=0.05)
    sent = everything()
    del sent["meds"]
    found = await run(Record(wait=5), sent, Server(BASE), site)
    assert [(gap.key, gap.reason) for gap in found.gaps] == [("meds", "took too long")]


async def test_an_answer_that_is_too_large_is_a_gap() -> None:
    site = Settings(fhir_servers=(BASE,), max_bytes=1000)
    sent = everything()
    del sent["meds"]
    large = httpx.Response(200, json={**EMPTY, "text": "x" * 2000})
    assert [
        gap.key for gap in (await run(Record({"MedicationRequest": large}), sent, Server(BASE), site)).gaps
    ] == ["meds"]


@pytest.mark.parametrize(
    "base", ["https://evil.example/r4", "http://127.0.0.1:8080", f"{BASE}.evil.example", f"{BASE}/../x", ""]
)
async def test_a_server_that_the_site_does_not_list_is_never_contacted(base: str) -> None:
    record = Record()
    found = await run(record, {}, Server(base, "secret"))
    assert record.asked == []
    assert {gap.key for gap in found.gaps} == set(SIGN.keys)


def page(number: int, following: str | None) -> Json:
    links = [] if following is None else [{"relation": "next", "url": following}]
    return {
        "resourceType": "Bundle",
        "link": links,
        "entry": [{"resource": {"resourceType": "Condition", "id": f"c{number}"}}],
    }


def ids(value: object) -> list[str]:
    assert isinstance(value, dict)
    return [one["resource"]["id"] for one in value["entry"]]


async def test_pages_are_followed_for_what_is_read_and_for_what_is_sent() -> None:
    record = Record(
        {
            "page=2": httpx.Response(200, json=page(2, None)),
            "Condition?": httpx.Response(200, json=page(1, f"{BASE}/x?page=2")),
        }
    )
    sent = everything()
    del sent["conditions"]
    found = await run(record, sent, Server(BASE))
    assert ids(found.data["conditions"]) == ["c1", "c2"]
    sent["conditions"] = page(1, f"{BASE}/x?page=2")
    assert needs_fetch(SIGN, sent)
    found = await run(record, sent, Server(BASE))
    assert ids(found.data["conditions"]) == ["c1", "c2"]
    assert found.data["conditions"] != sent["conditions"]


async def test_pages_are_bounded_and_what_is_left_keeps_its_link() -> None:
    record = Record(
        {f"page={n}": httpx.Response(200, json=page(n, f"{BASE}/x?page={n + 1}")) for n in range(2, 9)}
    )
    sent = {**everything(), "conditions": page(1, f"{BASE}/x?page=2")}
    found = await run(record, sent, Server(BASE))
    conditions = found.data["conditions"]
    assert ids(conditions) == ["c1", "c2", "c3"]
    assert isinstance(conditions, dict)
    assert conditions["link"]


@pytest.mark.parametrize(
    "link",
    [
        "https://evil.example/r4/x?page=2",
        "http://fhir.hospital.example/r4/x",
        "https://fhir.hospital.example/admin",
        "https://u@fhir.hospital.example/r4/x",
        f"{BASE}/../admin",
        "file:///etc/passwd",
        f"{BASE}evil/x",
    ],
)
async def test_a_next_page_elsewhere_is_not_followed(link: str) -> None:
    record = Record()
    sent = {**everything(), "conditions": page(1, link)}
    found = await run(record, sent, Server(BASE, "secret"))
    assert record.asked == []
    assert found.data["conditions"] == sent["conditions"]


@pytest.mark.parametrize(
    ("context", "query"),
    [
        ({"patientId": "p1"}, "Patient/p1"),
        ({"patientId": "a/../b?c=d&e"}, "Patient/a%2F..%2Fb%3Fc%3Dd%26e"),
        ({"patientId": ".."}, None),
        ({"patientId": 7}, None),
        ({}, None),
    ],
)
def test_a_template_is_filled_so_that_a_value_stays_a_value(context: Json, query: str | None) -> None:
    assert fill_template("Patient/{{context.patientId}}", context) == query
