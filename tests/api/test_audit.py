"""Auditors search, export and read the log as FHIR; whoever looks is noted."""

from __future__ import annotations

import csv
import datetime as dt
import io
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest
import sqlalchemy as sa
from fastapi import FastAPI, Request
from fastapi.testclient import TestClient

from adapters.gm_crypto.sm3 import sm3
from adapters.store.audit_ledger import Ledger
from adapters.store.audit_reading import links, reading
from adapters.store.database import open_database
from api import audit
from api.access import AccessRefused
from api.audit_text import as_audit_event, safe_cell
from api.auditing import event_of
from engine.access import Caller, Permission, Role
from engine.audit import Event, Kind, Link, Result, event
from engine.identity import Happening

_AT = dt.datetime(2026, 3, 1, 8, tzinfo=dt.UTC)


class _Blind:
    def active(self) -> str:
        return ""

    def seal(self, content: bytes, context: bytes, key_id: str, /) -> bytes:
        return content

    def open(self, sealed: bytes, context: bytes, /) -> bytes:
        return sealed

    def blind(self, text: str, field: str, /) -> str:
        return sm3(f"{field} {text}".encode())


class _Door:
    """Let the auditor in, and nobody else."""

    enforced = True

    async def admit(self, request: Request, permission: Permission) -> Caller:
        if request.headers.get("authorization") != "Bearer auditor":
            raise AccessRefused(403, "This is not yours to do")
        return Caller(subject="auditor-1", roles=frozenset({Role.AUDITOR}))


@pytest.fixture
def engine(sqlite_url: str) -> Iterator[sa.Engine]:
    made = open_database(sqlite_url, patience=5.0)
    yield made
    made.dispose()


@pytest.fixture
def ledger(engine: sa.Engine) -> Ledger:
    made = Ledger("sqlite", sm3, _Blind())
    made.record(
        engine,
        *[
            event(
                Kind.VIEW,
                at=_AT + dt.timedelta(minutes=number),
                who=f"user-{number % 3}",
                source="10.0.0.1",
                object=f"decision/{number}",
                patient=made.blind(f"p-{number % 2}"),
                detail={"count": number},
            )
            for number in range(9)
        ],
        event(Kind.LOGIN_FAILED, at=_AT, who='=HYPERLINK("http://x")', result=Result.DENIED),
    )
    return made


@pytest.fixture
def client(engine: sa.Engine, ledger: Ledger) -> TestClient:
    app = FastAPI()
    app.state.access = _Door()
    app.include_router(audit.router(engine, ledger, lambda: _AT))
    return TestClient(app, headers={"authorization": "Bearer auditor"})


def _last(engine: sa.Engine) -> Event:
    with reading(engine) as connection:
        return list(links(connection))[-1].event


def test_entries_are_searched_page_by_page_and_the_search_is_noted(
    client: TestClient, engine: sa.Engine
) -> None:
    answer = client.post("/audit/search", json={"kind": "view", "limit": 4}).json()
    assert [one["index"] for one in answer["entries"]] == [9, 8, 7, 6]
    noted = _last(engine)
    assert (noted.kind, noted.who, noted.object, noted.detail) == (
        Kind.SEARCH,
        "auditor-1",
        "audit",
        '{"rows":4}',
    )
    rest = client.post("/audit/search", json={"kind": "view", "limit": 9, "before": answer["next"]}).json()
    assert [one["index"] for one in rest["entries"]] == [5, 4, 3, 2, 1]
    assert rest["next"] is None


def test_a_patient_is_found_by_the_id_and_shown_by_the_blind_index(
    client: TestClient, engine: sa.Engine, ledger: Ledger
) -> None:
    answer = client.post("/audit/search", json={"patient": "p-1", "who": "user-1"})
    assert [one["index"] for one in answer.json()["entries"]] == [8, 2]
    assert "p-1" not in answer.text
    assert _last(engine).patient == ledger.blind("p-1")


def test_times_count_from_the_first_and_up_to_the_second(client: TestClient) -> None:
    wanted = {"since": "2026-03-01T16:02:00+08:00", "until": "2026-03-01T08:05:00Z"}
    answer = client.post("/audit/search", json=wanted).json()
    assert [one["index"] for one in answer["entries"]] == [5, 4, 3]


@pytest.mark.parametrize(
    "body",
    [
        {"before": 2**64},
        {"since": "0001-01-01T00:00:00+14:00"},
        {"who": "a\x00"},
        {"limit": 1001},
        {"unknown": 1},
        {"since": "2026-03-01T08:00:00"},
        {"kind": "other"},
        [],
    ],
)
def test_a_search_that_cannot_be_read_is_refused(client: TestClient, body: object) -> None:
    assert client.post("/audit/search", json=body).status_code == 422


def test_an_export_opens_safely_and_its_digest_stands_in_the_log(
    client: TestClient, engine: sa.Engine
) -> None:
    answer = client.post("/audit/export", json={"format": "csv"})
    assert answer.headers["ruleward-rows"] == "10"
    assert answer.headers["ruleward-digest"] == sm3(answer.content)
    assert answer.headers["content-disposition"] == 'attachment; filename="audit.csv"'
    rows = list(csv.DictReader(io.StringIO(answer.text)))
    assert rows[0]["who"] == '\'=HYPERLINK("http://x")'
    assert not any(cell.startswith(("=", "+", "-", "@")) for row in rows for cell in row.values())
    noted = _last(engine)
    assert noted.kind is Kind.EXPORT
    assert msgspec.json.decode(noted.detail) == {
        "file_digest": sm3(answer.content),
        "format": "csv",
        "rows": 10,
    }


def test_json_lines_hold_all_that_the_chain_covers(client: TestClient) -> None:
    answer = client.post("/audit/export", json={"format": "ndjson", "who": "user-2"})
    lines = [msgspec.json.decode(line) for line in answer.content.splitlines()]
    assert [line["index"] for line in lines] == [9, 6, 3]
    assert all(line["previous"].startswith("sm3:") and line["digest"].startswith("sm3:") for line in lines)


@pytest.mark.parametrize("text", ["=1", "+1", "-1", "@x", "\t=1", "\r=1", "\n=1", "＝1", "＋1", "－1", "＠x"])
def test_a_spreadsheet_computes_nothing_of_a_cell(text: str) -> None:
    assert safe_cell(text) == f"'{text}"
    assert safe_cell(f"a{text}") == f"a{text}"


def test_entries_are_read_as_fhir_audit_events(client: TestClient) -> None:
    bundle = client.get("/audit/AuditEvent", params={"agent": "user-1", "_count": 2}).json()
    assert bundle["type"] == "searchset"
    first = bundle["entry"][0]["resource"]
    assert first["resourceType"] == "AuditEvent"
    assert first["type"]["code"] == "110110"
    assert first["recorded"] == "2026-03-01T08:07:00.000Z"
    assert (first["action"], first["outcome"]) == ("R", "0")
    assert first["agent"] == [
        {"who": {"identifier": {"value": "user-1"}}, "requestor": True, "network": {"address": "10.0.0.1"}}
    ]
    assert first["entity"][0]["what"]["identifier"]["value"] == "decision/7"
    following = next(link["url"] for link in bundle["link"] if link["relation"] == "next")
    rest = client.get(following).json()
    assert [one["resource"]["entity"][0]["what"]["identifier"]["value"] for one in rest["entry"]] == [
        "decision/1"
    ]


@pytest.mark.parametrize("kind", list(Kind))
def test_every_kind_of_event_has_the_elements_that_fhir_demands(kind: Kind) -> None:
    made: dict[str, Any] = as_audit_event(Link(7, "p", "d", event(kind, at=_AT, who="a")), "chain")
    for element in ("type", "recorded", "agent", "source"):
        assert made[element]
    assert made["action"] in "CRUDE"
    assert made["source"]["observer"]
    assert all("requestor" in agent for agent in made["agent"])


def test_heads_go_to_a_witness_a_line_each(client: TestClient) -> None:
    answer = client.get("/audit/heads")
    assert (answer.status_code, answer.text) == (200, "")


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/audit/search"),
        ("POST", "/audit/export"),
        ("GET", "/audit/AuditEvent"),
        ("GET", "/audit/heads"),
    ],
)
def test_nobody_but_the_auditor_gets_in(engine: sa.Engine, ledger: Ledger, method: str, path: str) -> None:
    app = FastAPI()
    app.state.access = _Door()
    app.include_router(audit.router(engine, ledger, lambda: _AT))
    before = _last(engine)
    with pytest.raises(AccessRefused):
        TestClient(app).request(method, path, json={})
    assert _last(engine) == before


def test_nothing_is_shown_when_the_look_cannot_be_noted(client: TestClient, engine: sa.Engine) -> None:
    with engine.begin() as connection:
        connection.execute(sa.text("DROP TABLE audit_chain"))
    for path in ("search", "export"):
        answer = client.post(f"/audit/{path}", json={})
        assert answer.status_code == 503
        assert "user-1" not in answer.text


@pytest.mark.parametrize(
    ("happening", "kind", "result"),
    [
        (Happening(kind="sign_in", result="done", subject="a"), Kind.LOGIN, Result.SUCCESS),
        (Happening(kind="sign_in", result="refused", subject="a"), Kind.LOGIN_FAILED, Result.DENIED),
        (Happening(kind="sign_in", result="locked", subject="a"), Kind.LOGIN_FAILED, Result.DENIED),
        (Happening(kind="sign_out", result="done", subject="a"), Kind.LOGOUT, Result.SUCCESS),
        (Happening(kind="refused_token", result="forbidden"), Kind.ACCESS_DENIED, Result.DENIED),
        (Happening(kind="token", result="refresh_reused"), Kind.LOGIN_FAILED, Result.FAILURE),
        (Happening(kind="password", result="changed", subject="a"), Kind.PERMISSION_CHANGE, Result.SUCCESS),
        (
            Happening(kind="account", result="made", subject="a", by="b"),
            Kind.PERMISSION_CHANGE,
            Result.SUCCESS,
        ),
        (Happening(kind="glass", result="broken", subject="a"), Kind.BREAK_GLASS, Result.SUCCESS),
    ],
)
def test_what_identity_reports_becomes_an_event(happening: Happening, kind: Kind, result: Result) -> None:
    made = event_of(happening, _AT, "10.0.0.9")
    assert (made.kind, made.result, made.source) == (kind, result, "10.0.0.9")
    assert made.who == (happening.by or happening.subject or "unknown")
