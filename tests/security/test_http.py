"""The whole service behind its edge, over real sockets: what an attacker sends, and what comes of it."""

from __future__ import annotations

import contextlib
import json
import logging
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Protocol

import httpx
import pytest

from api.app import build_app
from api.connection import BoundedProtocol
from api.edges import EdgeSettings, build_edges
from api.settings import read_settings
from api.wire import build_publisher

CANARY = "王小明-canary-4711"
ORIGIN = "https://emr.hospital.example"
CDS = "/cds-services/ruleward-order-sign"
POSTS = ("/cds-services/ruleward-order-sign", "/cds-services/ruleward-patient-view", f"{CDS}/feedback",
         "/nhsa", "/nhsa/3101", "/nhsa/3102", "/nhsa/3103", "/decisions", "/decisions/explain")  # fmt: skip

Serve = Callable[..., AbstractContextManager[int]]
Json = dict[str, object]


class Folder(Protocol):
    root: Path


class Hasty(BoundedProtocol):
    """The protocol of the service with a patience that a test can wait for."""

    head_seconds = 0.5


class Trap:
    """A listener on loopback that nobody has any business with; it counts who comes."""

    def __init__(self) -> None:
        self.came = 0
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listening.getsockname()[1]
        threading.Thread(target=self._count, daemon=True).start()

    def _count(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self._listening.accept()
                self.came += 1
                connection.close()

    def end(self) -> None:
        self._listening.close()


class Record:
    """A listed FHIR server that says whatever it is told to."""

    def __init__(self) -> None:
        self.answer: tuple[int, dict[str, str], Json] = (200, {}, {})
        self.asked = 0

    async def __call__(self, scope: Json, _receive: object, send: Callable[..., object]) -> None:
        if scope["type"] != "http":
            return
        self.asked += 1
        status, headers, body = self.answer
        raw = [(name.encode(), value.encode()) for name, value in headers.items()]
        await send({"type": "http.response.start", "status": status, "headers": raw})  # type: ignore[misc]
        await send({"type": "http.response.body", "body": json.dumps(body).encode()})  # type: ignore[misc]


class Site:
    """The service, its log lines, a listed record and a trap."""

    def __init__(self, port: int, record: Record, record_port: int, log: Path) -> None:
        self.port, self.record, self.log, self.trap = port, record, log, Trap()
        self.base = f"http://127.0.0.1:{port}"
        self.record_base = f"http://127.0.0.1:{record_port}/r4"

    def client(self) -> httpx.Client:
        return httpx.Client(base_url=self.base, trust_env=False, timeout=20)

    def raw(self, sent: bytes, *, wait: float = 10.0) -> bytes:
        """Send bytes as they are, and return all that comes back."""
        with socket.create_connection(("127.0.0.1", self.port), wait) as connection:
            with contextlib.suppress(ConnectionError):
                connection.sendall(sent)
            answer = b""
            with contextlib.suppress(ConnectionError, TimeoutError):
                while more := connection.recv(65536):
                    answer += more
        return answer


@pytest.fixture(scope="module")
def site(
    tmp_path_factory: pytest.TempPathFactory, new_rules_folder: Callable[[Path], Folder], serving: Serve
) -> Iterator[Site]:
    """Give the service as it is served, with a small rules folder, in demo mode: the widest surface."""
    place = tmp_path_factory.mktemp("site")
    folder, record = new_rules_folder(place / "rules"), Record()
    log = place / "log"
    handler = logging.FileHandler(log, encoding="utf-8")
    handler.setFormatter(logging.Formatter("%(levelname)s %(name)s: %(message)s"))
    logging.getLogger().addHandler(handler)
    try:
        with serving(record) as record_port:
            environment = {
                "RULEWARD_DATA": str(place / "data"),
                "RULEWARD_RULES": str(folder.root),
                "RULEWARD_MODE": "demo",
                "RULEWARD_CORS_ORIGINS": ORIGIN,
                "RULEWARD_FHIR_SERVERS": f"http://127.0.0.1:{record_port}/r4",
            }
            settings = read_settings(environment, folder.root)
            publisher = build_publisher(settings)
            publisher.start()
            app = build_app(settings)
            edges = build_edges(
                app,
                EdgeSettings(
                    hosts=("127.0.0.1",), max_body=8_000_000, upload_seconds=1.0, demo=True, max_head=16_000
                ),
            )
            with serving(edges, None, Hasty) as port:
                one = Site(port, record, record_port, log)
                yield one
                one.trap.end()
            publisher.stop()
    finally:
        logging.getLogger().removeHandler(handler)
        handler.close()


def order(**changes: object) -> Json:
    empty = {"resourceType": "Bundle", "type": "searchset", "entry": []}
    medication = {
        "resourceType": "MedicationRequest", "id": "m1", "status": "draft", "intent": "order",
        "medicationCodeableConcept": {"text": "alpha"}, "subject": {"reference": "Patient/P1"},
    }  # fmt: skip
    return {
        "hook": "order-sign", "hookInstance": "i-1",
        "context": {
            "userId": "Practitioner/1", "patientId": "P1", "encounterId": "E1",
            "draftOrders": {"resourceType": "Bundle", "entry": [{"resource": medication}]},
        },
        "prefetch": {"patient": {"resourceType": "Patient", "id": "P1", "gender": "male"}, "meds": empty},
        **changes,
    }  # fmt: skip


# --- bodies -------------------------------------------------------------------------------------------------

BODIES: dict[str, bytes] = {
    "NaN": b'{"a": NaN}',
    "a number that is infinite": b'{"a": 1e400}',
    "lists nested without end": b"[" * 100_000,
    "objects nested without end": b'{"a":' * 100_000,
    "nested inside a field that is known": b'{"hook": "order-sign", "context": ' + b"[" * 100_000,
    "a key twice": b'{"facts": {}, "facts": {}}',
}


@pytest.mark.parametrize("path", POSTS)
@pytest.mark.parametrize("kind", BODIES)
def test_a_body_that_is_no_request_is_a_4xx_and_soon(site: Site, path: str, kind: str) -> None:
    began = time.monotonic()
    with site.client() as client:
        assert 400 <= client.post(path, content=BODIES[kind]).status_code < 500
    assert time.monotonic() - began < 10


@pytest.mark.parametrize("path", POSTS)
def test_a_body_that_is_too_large_is_refused_before_it_is_sent(site: Site, path: str) -> None:
    answer = site.raw(f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 8000001\r\n\r\n".encode())
    assert answer.startswith(b"HTTP/1.1 413 ")


@pytest.mark.parametrize("path", POSTS)
def test_a_body_that_says_no_length_is_refused_when_it_gets_too_large(site: Site, path: str) -> None:
    chunk = b"100000\r\n" + b" " * 0x100000 + b"\r\n"
    head = f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nTransfer-Encoding: chunked\r\n\r\n".encode()
    assert site.raw(head + chunk * 9).startswith(b"HTTP/1.1 413 ")


def test_a_sender_that_stops_in_its_body_is_let_go(site: Site) -> None:
    began = time.monotonic()
    head = f"POST {CDS} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 1000\r\n\r\n{{".encode()
    assert site.raw(head).startswith(b"HTTP/1.1 408 ")
    assert time.monotonic() - began < 8


@pytest.mark.parametrize(
    "sent", [b"", b"G", b"GET / HTTP/1.1\r\n", b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nX: "]
)
def test_a_sender_that_stops_in_its_headers_is_let_go(site: Site, sent: bytes) -> None:
    began = time.monotonic()
    assert site.raw(sent).startswith(b"HTTP/1.1 408 ")
    assert time.monotonic() - began < 8


def test_headers_without_end_are_let_go(site: Site) -> None:
    assert b"431" in site.raw(b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nX: " + b"x" * 200_000)[:20]


def test_idle_senders_keep_no_one_else_from_an_answer(site: Site) -> None:
    idle = [socket.create_connection(("127.0.0.1", site.port), 5) for _ in range(200)]
    try:
        with site.client() as client:
            assert client.get("/live").status_code == 200
    finally:
        for one in idle:
            one.close()


# --- nothing personal comes back or stays -------------------------------------------------------------------


def stated(facts: object, **changes: object) -> Json:
    return {"stage": "order_sign", "facts": facts, **changes}


MALFORMED: dict[str, bytes] = {
    name: json.dumps(body).encode()
    for name, body in {
        "a hook": order(hook=CANARY),
        "a hook that is no text": order(hook=7, note=CANARY),
        "a patient in a wrong place": order(context={"patientId": [CANARY]}),
        "a user": order(context={"patientId": "P1", "userId": CANARY}),
        "stated facts": stated({"patient": {"sex": [CANARY]}}),
        "a date": stated({"patient": {"birth_date": CANARY}}),
        "a field's name": stated({}, **{CANARY: 1}),
        "a field's name inside": stated({"patient": {CANARY: 1}}),
        "a stage": stated({}, stage=CANARY),
        "a rule": {"rule": CANARY, "facts": {}},
        "the insurer's patient": {
            "infno": "3101", "msgid": "a1", "input": {"data": {"patient_dtos": [{"patn_name": CANARY}]}},
        },
        "the insurer's number": {"infno": CANARY, "msgid": CANARY},
        "feedback": {"feedback": [{"card": "c", "outcome": CANARY, "outcomeTimestamp": CANARY}]},
    }.items()
}  # fmt: skip
MALFORMED["a body that is cut off"] = json.dumps(order(note=CANARY)).encode()[:-5]


@pytest.mark.parametrize("path", POSTS)
@pytest.mark.parametrize("kind", MALFORMED)
def test_a_refusal_does_not_say_what_was_sent_and_the_log_does_not_keep_it(
    site: Site, path: str, kind: str
) -> None:
    with site.client() as client:
        answer = client.post(path, content=MALFORMED[kind])
    assert answer.status_code < 500
    written = answer.text + site.log.read_text(encoding="utf-8")
    for form in (CANARY, "canary-4711", json.dumps(CANARY)[1:-1]):
        assert form not in written, written[-500:]


def test_what_stands_in_a_url_is_neither_logged_nor_told_back(site: Site) -> None:
    with site.client() as client:
        for path in (
            "/decisions/canary-4711",
            "/canary-4711",
            "/decisions?name=canary-4711",
            "/nhsa/canary-4711",
        ):
            assert "canary-4711" not in client.get(path).text
        assert "canary-4711" not in client.get("/metrics").text
    assert "canary-4711" not in site.log.read_text(encoding="utf-8")


# --- header and log injection, smuggling --------------------------------------------------------------------


@pytest.mark.parametrize("name", ["Idempotency-Key", "Accept-Language", "X-Request-Id", "Authorization"])
def test_a_line_break_in_a_header_makes_neither_a_header_nor_a_log_line(site: Site, name: str) -> None:
    body = b'{"stage": "order_sign", "facts": {}}'
    with site.client() as client:
        for value in ("a%0d%0aSet-Cookie: x=1", "a\\r\\nSet-Cookie: x=1", "a\u2028CRITICAL forged"):
            answer = client.post("/decisions", content=body, headers={name.encode(): value.encode()})
            assert answer.status_code < 500
            assert "set-cookie" not in answer.headers
    head = f"POST /decisions HTTP/1.1\r\nHost: 127.0.0.1\r\n{name}: a\nforged: 1\r\n".encode()
    came = site.raw(head + b"Connection: close\r\nContent-Length: 0\r\n\r\n")
    assert b"set-cookie" not in came.lower()
    assert not [line for line in site.log.read_text("utf-8").splitlines() if line.startswith("CRITICAL")]


def test_a_line_break_in_an_id_makes_no_log_line(site: Site) -> None:
    forged = "i\r\nCRITICAL ruleward: forged\u0085CRITICAL forged"
    with site.client() as client:
        client.post(CDS, json=order(hookInstance=forged))
        client.post("/nhsa", json={"infno": "3101", "msgid": forged})
        client.get("/decisions/a%0d%0aCRITICAL%20forged")
        client.post(CDS.replace("order-sign", "a%0aCRITICAL"), json=order())
    assert not [line for line in site.log.read_text("utf-8").splitlines() if line.startswith("CRITICAL")]


INNER = b"GET /metrics HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
SMUGGLED = {
    "length and chunks": b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + INNER,
    "two lengths": b"Content-Length: 0\r\nContent-Length: 40\r\n\r\n" + INNER,
    "a length with a sign": b"Content-Length: +5\r\n\r\n12345",
    "chunks by another name": b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
    "a blank before the colon": b"Content-Length : 5\r\n\r\n12345",
    "a folded header": b"X: a\r\n b: c\r\nContent-Length : 0\r\n\r\n",
}


@pytest.mark.parametrize("kind", SMUGGLED)
def test_a_request_inside_a_request_is_not_answered(site: Site, kind: str) -> None:
    answer = site.raw(b"POST /decisions HTTP/1.1\r\nHost: 127.0.0.1\r\n" + SMUGGLED[kind], wait=3)
    assert answer.startswith((b"HTTP/1.1 400 ", b"HTTP/1.1 408 "))
    assert b"ruleward_decisions_total" not in answer


# --- hosts, origins, methods --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "hosts",
    [
        ["evil.example"], ["127.0.0.1.evil.example"], ["127.0.0.1", "evil.example"], [""], [],
        ["127.0.0.1@evil.example"], ["evil.example:127.0.0.1"],
    ],
)  # fmt: skip
def test_another_name_is_not_answered(site: Site, hosts: list[str]) -> None:
    lines = "".join(f"Host: {host}\r\n" for host in hosts)
    answer = site.raw(f"GET /cds-services HTTP/1.1\r\n{lines}Connection: close\r\n\r\n".encode())
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert b"evil" not in answer


def test_a_forwarded_host_changes_nothing(site: Site) -> None:
    with site.client() as client:
        forged = {"X-Forwarded-Host": "evil.example", "Forwarded": "host=evil.example"}
        answer = client.get("/cds-services/", headers=forged, follow_redirects=False)
    assert "evil" not in answer.text + str(answer.headers)


@pytest.mark.parametrize(
    "origin", ["https://evil.example", "null", f"{ORIGIN}.evil.example", "http://emr.hospital.example"]
)
def test_an_origin_that_is_not_listed_is_told_nothing(site: Site, origin: str) -> None:
    with site.client() as client:
        for answer in (
            client.options(CDS, headers={"Origin": origin, "Access-Control-Request-Method": "POST"}),
            client.get("/cds-services", headers={"Origin": origin}),
        ):
            assert "access-control-allow-origin" not in answer.headers


def test_a_listed_origin_is_answered_by_its_name_and_never_by_a_star(site: Site) -> None:
    with site.client() as client:
        answer = client.get("/cds-services", headers={"Origin": ORIGIN})
    assert answer.headers["access-control-allow-origin"] == ORIGIN
    assert "access-control-allow-credentials" not in answer.headers


@pytest.mark.parametrize("method", ["PUT", "PATCH", "DELETE", "TRACE", "CONNECT", "PROPFIND", "DEBUG"])
def test_a_method_that_a_path_does_not_have_does_nothing(site: Site, method: str) -> None:
    with site.client() as client:
        for path in (*POSTS, "/decisions/1", "/ready", "/metrics", "/cds-services"):
            answer = client.request(method, path)
            assert answer.status_code in (400, 401, 403, 404, 405), (path, answer.status_code)
            assert "canary" not in answer.text


def test_a_method_in_a_header_or_query_is_not_obeyed(site: Site) -> None:
    with site.client() as client:
        for name in ("X-HTTP-Method-Override", "X-HTTP-Method", "X-Method-Override"):
            assert client.get("/decisions", headers={name: "POST"}).status_code in (404, 405)
        assert client.get("/decisions?_method=POST").status_code in (404, 405)


@pytest.mark.parametrize(
    "path",
    [
        "/../etc/passwd", "/%2e%2e/%2e%2e/etc/passwd", "/static/..%2f..%2fsetup.cfg", "//etc/passwd",
        "/.git/config", "/.env", "/decisions/..%2f..%2fetc%2fpasswd", "/cds-services/..%5c..%5csetup.cfg",
        "/%00", "/rules/demo",
    ],
)  # fmt: skip
def test_no_path_leads_to_a_file(site: Site, path: str) -> None:
    answer = site.raw(f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n".encode())
    assert answer.split(b" ", 2)[1] in (b"400", b"404", b"405")
    assert b"root:" not in answer
    assert b"[metadata]" not in answer


# --- the service is no one's messenger ----------------------------------------------------------------------


def servers(site: Site) -> list[str]:
    port = site.trap.port
    return [
        f"http://127.0.0.1:{port}", f"http://localhost:{port}/r4", f"http://[::ffff:127.0.0.1]:{port}",
        f"http://2130706433:{port}", f"http://0x7f.1:{port}", f"http://0:{port}", f"https://127.0.0.1:{port}",
        "http://169.254.169.254/latest/meta-data", "file:///etc/passwd", "gopher://127.0.0.1:6379/_PING",
        f"{site.record_base}@127.0.0.1:{port}", f"http://127.0.0.1:{port}#{site.record_base}",
        f"{site.record_base}/../../admin", site.record_base.replace("http", "ftp"), "//127.0.0.1", "",
        "x" * 5000,
        f"{site.record_base}.evil.example", f"{site.record_base}\r\nX: 1", f"{site.record_base}?x=",
    ]  # fmt: skip


def test_a_fhir_server_that_the_site_does_not_list_is_never_contacted(site: Site) -> None:
    asked = site.record.asked
    with site.client() as client:
        for number, server in enumerate(servers(site)):
            token: Json = {"access_token": "t", "token_type": "Bearer", "expires_in": 300, "scope": "x"}
            body = order(hookInstance=f"s-{number}", fhirServer=server, fhirAuthorization=token)
            answer = client.post(CDS, json=body)
            assert answer.status_code in (200, 400, 412), (server, answer.text)
            assert "root:" not in answer.text
    assert site.trap.came == 0
    assert site.record.asked == asked


def lead(site: Site, target: str) -> list[tuple[int, dict[str, str], Json]]:
    bundle: Json = {"resourceType": "Bundle", "type": "searchset", "entry": []}
    onward: Json = {**bundle, "link": [{"relation": "next", "url": target}]}
    return [*((status, {"location": target}, {}) for status in (301, 302, 303, 307, 308)), (200, {}, onward)]


def test_a_listed_record_cannot_lead_us_elsewhere(site: Site) -> None:
    port = site.trap.port
    targets = (
        f"http://127.0.0.1:{port}/", f"//127.0.0.1:{port}/r4/x", f"http://localhost:{port}/r4", "file:///etc/passwd",
        "http://169.254.169.254/", f"{site.record_base}@127.0.0.1:{port}/", f"\\\\127.0.0.1:{port}\\x",
    )  # fmt: skip
    with site.client() as client:
        for place, target in enumerate(targets):
            for number, answer in enumerate(lead(site, target)):
                site.record.answer = answer
                before = site.record.asked
                got = client.post(
                    CDS, json=order(hookInstance=f"l-{place}-{number}", fhirServer=site.record_base)
                )
                assert got.status_code in (200, 412)
                assert site.record.asked > before  # it was asked, and led nowhere
    assert site.trap.came == 0


# --- the surface --------------------------------------------------------------------------------------------


def test_every_answer_of_the_service_carries_the_headers(site: Site) -> None:
    with site.client() as client:
        for answer in (
            client.get("/ready"), client.get("/nowhere"), client.post("/decisions", content=b"{"),
            client.options(CDS, headers={"Origin": ORIGIN, "Access-Control-Request-Method": "POST"}),
        ):  # fmt: skip
            assert answer.headers["x-content-type-options"] == "nosniff"
            assert answer.headers["cache-control"] == "no-store"
            assert "content-security-policy" in answer.headers
            assert "server" not in answer.headers
