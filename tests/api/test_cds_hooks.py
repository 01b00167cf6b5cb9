"""CDS Hooks 2.0 over HTTP: discovery, calls, refusals with the path of the fault, retries and feedback."""

from __future__ import annotations

import datetime as dt
import hashlib
import json
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import httpx
import msgspec
import pytest
from fastapi import FastAPI
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from adapters.emr.client import FhirReader
from adapters.emr.settings import Settings
from api import cds_hooks
from engine.decision import Decision, Finding, Level, Stage, Subject, Words
from engine.errors import NotReady, NotRecorded
from engine.facts import Facts
from engine.ports import FeedbackEntry
from engine.snapshot import Snapshot, build_snapshot

Json = dict[str, object]
AT = dt.datetime(2026, 3, 1, 10, tzinfo=dt.timezone(dt.timedelta(hours=8)))
EXAMPLE = Path(__file__).parents[2] / "docs" / "examples" / "order-sign.json"
HOOKS = (
    "patient-view",
    "order-select",
    "order-sign",
    "medication-verify",
    "encounter-discharge",
    "appointment-book",
)


class FakeService:
    """Decide by what a test says; record by key; perhaps fail to."""

    def __init__(self) -> None:
        self.answers: dict[str, bytes] = {}
        self.facts: list[Facts] = []
        self.stages: list[Stage] = []
        self.entries: list[FeedbackEntry] = []
        self.ready, self.recording = True, True
        self.findings: Callable[[Facts], tuple[Finding, ...]] = lambda _: ()

    def in_force(self) -> Snapshot:
        if not self.ready:
            raise NotReady("no release")
        return build_snapshot("sm3:00ff", (), {}, {})[0]

    def digest(self, content: bytes, /) -> str:
        return hashlib.sha256(content).hexdigest()

    async def decide(
        self,
        snapshot: Snapshot,
        facts: Facts,
        *,
        stage: Stage,
        interface: str,
        key: str,
        request_digest: str,
        render: cds_hooks.Render,
        patient: str,
        left_aside: tuple[str, ...],
    ) -> bytes:
        self.facts.append(facts)
        self.stages.append(stage)
        found, checks = self.findings(facts), frozenset({"r.one"})
        decision = Decision(stage, AT, snapshot.release, found, (), (), checks, checks, left_aside)
        answer, _ = render(decision, f"id of {key}", self.recording)
        return self.answers.setdefault(key, answer)

    async def find(self, key: str, request_digest: str) -> bytes | None:
        return self.answers.get(key)

    async def feedback(self, entries: tuple[FeedbackEntry, ...], /) -> None:
        if not self.recording:
            raise NotRecorded("no disk")
        self.entries += entries


@pytest.fixture
def service() -> FakeService:
    return FakeService()


def application(service: FakeService, site: Settings, record: httpx.AsyncBaseTransport) -> FastAPI:
    app = FastAPI()
    reader = FhirReader(site, httpx.AsyncClient(transport=record))
    app.include_router(cds_hooks.router(service, site, reader, lambda: AT))
    return app


def nowhere(request: httpx.Request) -> httpx.Response:
    raise AssertionError(f"nothing may be read, yet {request.url} was")


@pytest.fixture
async def client(service: FakeService) -> AsyncIterator[httpx.AsyncClient]:
    app = application(service, Settings(max_request_bytes=200_000), httpx.MockTransport(nowhere))
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://service") as one:
        yield one


def example() -> Json:
    body = msgspec.json.decode(EXAMPLE.read_bytes())
    assert isinstance(body, dict)
    return body


def call_of(hook: str) -> Json:
    """Return a sound call of each hook, all its data in prefetch."""
    body = example()
    context = body["context"]
    assert isinstance(context, dict)
    drafts = context.pop("draftOrders")
    extra: dict[str, Json] = {
        "order-select": {"selections": ["MedicationRequest/ibuprofen-1"], "draftOrders": drafts},
        "order-sign": {"draftOrders": drafts},
        "medication-verify": {"medication": drafts["entry"][0]["resource"]},
        "appointment-book": {
            "appointments": {
                "resourceType": "Bundle",
                "entry": [
                    {
                        "resource": {
                            "resourceType": "Appointment",
                            "id": "x",
                            "status": "proposed",
                            "start": "2026-03-02T08:00:00+08:00",
                        }
                    }
                ],
            }
        },
    }
    return {**body, "hook": hook, "context": {**context, **extra.get(hook, {})}}


# -- discovery ------------------------------------------------------------------------------------------


async def test_discovery_lists_six_services_with_prefetch_templates(client: httpx.AsyncClient) -> None:
    answer = await client.get("/cds-services")
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("application/json")
    services = answer.json()["services"]
    assert [one["hook"] for one in services] == list(HOOKS)
    for one in services:
        assert all(isinstance(one[key], str) and one[key] for key in ("hook", "id", "title", "description"))
        assert one["prefetch"]["patient"] == "Patient/{{context.patientId}}"
    sign = next(one for one in services if one["hook"] == "order-sign")
    assert set(sign["prefetch"]) == {
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
    }


@pytest.mark.parametrize("hook", HOOKS)
async def test_every_listed_service_answers_its_hook(
    hook: str, client: httpx.AsyncClient, service: FakeService
) -> None:
    answer = await client.post(f"/cds-services/ruleward-{hook}", json=call_of(hook))
    assert answer.status_code == 200, answer.text
    passed = hook == "appointment-book"  # the drugs of the others are not in the (empty) dictionary here
    assert [card["indicator"] for card in answer.json()["cards"]] == ([] if passed else ["info"])
    status = answer.json()["extension"]["com.ruleward.decision"]["status"]
    assert status == ("passed" if passed else "not_checked")
    assert service.stages == [Stage(hook.replace("-", "_"))]
    assert any(
        one.in_focus
        for one in (*(service.facts[0].medications or ()), *(service.facts[0].appointments or ()))
    )


@pytest.mark.parametrize(
    ("path", "method"),
    [("", "GET"), ("/ruleward-order-sign", "POST"), ("/ruleward-order-sign/feedback", "POST")],
)
async def test_options_is_answered_on_all_three_paths(
    path: str, method: str, client: httpx.AsyncClient
) -> None:
    answer = await client.options(f"/cds-services{path}")
    assert answer.status_code == 204
    assert answer.headers["allow"] == f"{method}, OPTIONS"


# -- calls ----------------------------------------------------------------------------------------------


async def test_the_example_reaches_the_rules_as_facts(
    client: httpx.AsyncClient, service: FakeService
) -> None:
    await client.post("/cds-services/ruleward-order-sign", content=EXAMPLE.read_bytes())
    facts = service.facts[0]
    assert (facts.patient.sex, facts.patient.birth_date, facts.patient.weight_kg) == (
        "male",
        dt.date(1950, 2, 3),
        68,
    )
    assert facts.allergies == ()
    assert facts.visit.insurance == "employee"
    doses = {one.medication: one for one in facts.components or ()}
    assert len(doses) == 4
    assert sum(one.in_focus for one in facts.medications or ()) == 3


async def test_a_finding_becomes_a_card_in_the_language_asked_for(
    client: httpx.AsyncClient, service: FakeService
) -> None:
    def found(facts: Facts) -> tuple[Finding, ...]:
        draft = (facts.medications or ())[0]
        subject = Subject("drug", "medication", draft.id, draft.name or "")
        return (
            Finding("r.one", 1, "r", Words("题", "Title"), Level.BLOCK, Words("中文", "English"), (subject,)),
        )

    service.findings = found
    said = {}
    for accepted in ("zh-CN,zh;q=0.9,en;q=0.8", "en-GB,en;q=0.9", "fr", ""):
        answer = await client.post(
            "/cds-services/ruleward-order-sign",
            json={**example(), "hookInstance": f"h-{accepted}"},
            headers={"accept-language": accepted},
        )
        (card, *_) = answer.json()["cards"]
        said[accepted] = card["summary"]
        assert card["indicator"] == "critical"
    assert list(said.values()) == ["中文", "English", "中文", "中文"]
    body = {**example(), "hookInstance": "x", "extension": {"com.ruleward.language": "en"}}
    answer = await client.post("/cds-services/ruleward-order-sign", json=body)
    assert answer.json()["cards"][0]["summary"] == "English"


async def test_a_retry_gets_the_first_answer_byte_for_byte(client: httpx.AsyncClient) -> None:
    first = await client.post("/cds-services/ruleward-order-sign", content=EXAMPLE.read_bytes())
    second = await client.post("/cds-services/ruleward-order-sign", content=EXAMPLE.read_bytes())
    assert first.content == second.content


async def test_an_answer_that_is_not_on_record_says_so(
    client: httpx.AsyncClient, service: FakeService
) -> None:
    service.recording = False
    answer = await client.post("/cds-services/ruleward-order-sign", content=EXAMPLE.read_bytes())
    assert answer.json()["cards"][0]["indicator"] == "warning"
    assert answer.json()["extension"]["com.ruleward.decision"]["recorded"] is False


async def test_without_a_release_nothing_is_checked_and_nothing_looks_checked(
    client: httpx.AsyncClient, service: FakeService
) -> None:
    service.ready = False
    answer = await client.post("/cds-services/ruleward-order-sign", content=EXAMPLE.read_bytes())
    assert answer.status_code == 503
    assert answer.headers["retry-after"] == "1"


def without(path: str) -> Callable[[Json], Json]:
    def change(body: Json) -> Json:
        *parents, last = path.split(".")
        place: object = body
        for one in parents:
            assert isinstance(place, dict)
            place = place[one]
        assert isinstance(place, dict)
        del place[last]
        return body

    return change


def put(path: str, value: object) -> Callable[[Json], Json]:
    def change(body: Json) -> Json:
        *parents, last = path.split(".")
        place: object = body
        for one in parents:
            assert isinstance(place, dict)
            place = place[one]
        assert isinstance(place, dict)
        place[last] = value
        return body

    return change


@pytest.mark.parametrize(
    ("change", "status", "path"),
    [
        (without("hook"), 400, "$"),
        (without("hookInstance"), 400, "$"),
        (without("context"), 400, "$"),
        (put("hook", None), 400, "$.hook"),
        (put("hook", 7), 400, "$.hook"),
        (put("hook", "patient-view"), 422, "$.hook"),
        (put("hookInstance", ""), 400, "$.hookInstance"),
        (put("context", []), 400, "$.context"),
        (put("prefetch", "x"), 400, "$.prefetch"),
        (put("fhirServer", 5), 400, "$.fhirServer"),
        (put("fhirAuthorization", {"access_token": "t"}), 400, "$.fhirServer"),
        (put("fhirAuthorization", {"token_type": "Bearer"}), 400, "$.fhirAuthorization"),
        (without("context.patientId"), 400, "$.context.patientId"),
        (put("context.patientId", ""), 400, "$.context.patientId"),
        (put("context.patientId", None), 400, "$.context.patientId"),
        (put("context.userId", "D1024"), 400, "$.context.userId"),
        (put("context.encounterId", 7), 400, "$.context.encounterId"),
        (without("context.draftOrders"), 400, "$.context.draftOrders"),
        (put("context.draftOrders", []), 400, "$.context.draftOrders"),
        (put("context.draftOrders.resourceType", "List"), 400, "$.context.draftOrders.resourceType"),
        (put("context.draftOrders.entry", {}), 400, "$.context.draftOrders.entry"),
        (put("context.draftOrders.entry", [None]), 400, "$.context.draftOrders.entry[0]"),
        (
            put("context.draftOrders.entry", [{"resource": None}]),
            400,
            "$.context.draftOrders.entry[0].resource",
        ),
        (
            put("context.draftOrders.entry", [{"resource": {}}]),
            400,
            "$.context.draftOrders.entry[0].resource.resourceType",
        ),
        (put("prefetch.patient.id", "another"), 400, "$.prefetch.patient.id"),
        (without("prefetch"), 412, "$.prefetch"),
        (without("prefetch.meds"), 412, "$.prefetch"),
    ],
)
async def test_a_fault_is_refused_with_its_path(
    change: Callable[[Json], Json], status: int, path: str, client: httpx.AsyncClient, service: FakeService
) -> None:
    answer = await client.post("/cds-services/ruleward-order-sign", json=change(example()))
    assert (answer.status_code, answer.json()["path"]) == (status, path), answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["resourceType"] == "OperationOutcome"
    assert service.facts == []


@pytest.mark.parametrize(
    ("content", "status"),
    [
        (b"", 400),
        (b"[]", 400),
        (b"null", 400),
        (b"{", 400),
        (b"\xff\xfe", 400),
        (b'"x"', 400),
        (b"[" * 100_000, 400),
        (b'{"a":' * 40_000, 400),
        (b'{"context":' + b"[" * 50_000, 400),
        (b" " * 200_001, 413),
    ],
)
async def test_what_is_no_call_at_all_is_refused(
    content: bytes, status: int, client: httpx.AsyncClient
) -> None:
    answer = await client.post("/cds-services/ruleward-order-sign", content=content)
    assert answer.status_code == status
    assert answer.json()["status"] == status


async def test_an_unknown_service_is_404(client: httpx.AsyncClient) -> None:
    for path in ("nothing", "nothing/feedback"):
        answer = await client.post(f"/cds-services/{path}", json=example())
        assert (answer.status_code, answer.json()["issue"][0]["code"]) == (404, "not-found")


async def test_orders_that_are_no_drafts_any_more_are_checked_too(
    client: httpx.AsyncClient, service: FakeService
) -> None:
    body = example()
    put(
        "context.draftOrders",
        {
            "resourceType": "Bundle",
            "entry": [
                {
                    "resource": {
                        "resourceType": "MedicationRequest",
                        "id": "x",
                        "status": "active",
                        "intent": "order",
                        "medicationCodeableConcept": {"text": "某药"},
                    }
                }
            ],
        },
    )(body)
    answer = await client.post("/cds-services/ruleward-order-sign", json=body)
    assert answer.status_code == 200
    (card,) = answer.json()["cards"]  # not in the (empty) dictionary of this test
    assert "某药" in card["summary"]
    assert answer.json()["extension"]["com.ruleward.decision"]["status"] == "not_checked"


# -- feedback -------------------------------------------------------------------------------------------

FEEDBACK: Json = {
    "card": "c-1",
    "outcome": "accepted",
    "acceptedSuggestions": [{"id": "s-1"}],
    "outcomeTimestamp": "2026-03-01T02:00:00Z",
}


async def test_feedback_is_recorded_whether_the_card_is_known_or_not(
    client: httpx.AsyncClient, service: FakeService
) -> None:
    override = {
        "card": "c-2",
        "outcome": "overridden",
        "outcomeTimestamp": "2026-03-01T10:00:00+08:00",
        "overrideReason": {"reason": {"code": "emergency", "system": "urn:x"}, "userComment": "抢救"},
    }
    answer = await client.post(
        "/cds-services/ruleward-order-sign/feedback", json={"feedback": [FEEDBACK, override]}
    )
    assert (answer.status_code, answer.json()) == (200, {})
    one, other = service.entries
    assert (one.card, one.outcome, one.accepted_suggestions) == ("c-1", "accepted", ("s-1",))
    assert (other.reason_code, other.comment) == ("emergency", "抢救")
    assert one.outcome_at == other.outcome_at


@pytest.mark.parametrize(
    ("body", "path"),
    [
        ({}, "$"),
        ({"feedback": {}}, "$.feedback"),
        ({"feedback": [None]}, "$.feedback[0]"),
        ({"feedback": [{**FEEDBACK, "outcome": "ignored"}]}, "$.feedback[0].outcome"),
        ({"feedback": [{**FEEDBACK, "acceptedSuggestions": None}]}, "$.feedback[0].acceptedSuggestions"),
        (
            {"feedback": [FEEDBACK, {**FEEDBACK, "outcomeTimestamp": "today"}]},
            "$.feedback[1].outcomeTimestamp",
        ),
        (
            {"feedback": [{**FEEDBACK, "outcomeTimestamp": "2026-03-01T10:00:00"}]},
            "$.feedback[0].outcomeTimestamp",
        ),
        ({"feedback": [{**FEEDBACK, "card": ""}]}, "$.feedback[0].card"),
    ],
)
async def test_malformed_feedback_is_refused_as_a_whole(
    body: Json, path: str, client: httpx.AsyncClient, service: FakeService
) -> None:
    answer = await client.post("/cds-services/ruleward-order-sign/feedback", json=body)
    assert (answer.status_code, answer.json()["path"]) == (400, path)
    assert service.entries == []


async def test_feedback_that_is_not_on_record_is_not_acknowledged(
    client: httpx.AsyncClient, service: FakeService
) -> None:
    service.recording = False
    answer = await client.post("/cds-services/ruleward-order-sign/feedback", json={"feedback": [FEEDBACK]})
    assert answer.status_code == 503


# -- arbitrary JSON -------------------------------------------------------------------------------------

leaves = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=5)
)
trees = st.recursive(
    leaves,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


def places(value: object, path: tuple[str | int, ...] = ()) -> list[tuple[str | int, ...]]:
    found = [path] if path else []
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, one in items:
        found += places(one, (*path, key))
    return found


PLACES = places(example())


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.sampled_from(PLACES), trees, st.booleans())
async def test_no_change_of_the_example_ever_gives_a_5xx(
    client: httpx.AsyncClient, place: tuple[str | int, ...], value: object, drop: bool
) -> None:
    body = json.loads(EXAMPLE.read_bytes())
    parent = body
    for key in place[:-1]:
        parent = parent[key]
    if drop:
        del parent[place[-1]]
    else:
        parent[place[-1]] = value
    answer = await client.post("/cds-services/ruleward-order-sign", json=body)
    assert answer.status_code in (200, 400, 412, 422), answer.text
    if answer.status_code == 200:
        assert isinstance(answer.json()["cards"], list)
