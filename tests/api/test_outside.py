"""Systems outside that fail, hang, refuse and come back: real servers on loopback, and names that lie."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import httpx
import pytest
import trustme

from adapters.emr.client import FhirReader, Server
from adapters.emr.settings import Settings
from api import outside
from api.outside import (
    CircuitOpen,
    ForbiddenAddress,
    OutsideSettings,
    OutsideTransport,
    read_outside_settings,
)

QUICK = OutsideSettings(wait_seconds=0.001, jitter_seconds=0.002, failures=3, open_seconds=0.2)
BUNDLE = b'{"resourceType":"Bundle","type":"searchset"}'


class Record:
    """A FHIR server on a real socket that does what it is told to, one word a request."""

    def __init__(self) -> None:
        self.plan: list[str] = []
        self.then = "well"
        self.asked = 0
        self.heads: list[bytes] = []
        self.base = ""

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                self.heads.append(await reader.readuntil(b"\r\n\r\n"))
                self.asked += 1
                word = self.plan.pop(0) if self.plan else self.then
                if word == "reset":
                    writer.transport.abort()
                    return
                if word == "hang":
                    await asyncio.sleep(30)
                status, body = ("200 OK", BUNDLE) if word == "well" else (f"{word} No", b"{}")
                location = "Location: http://127.0.0.1:1/elsewhere\r\n" if word == "302" else ""
                writer.write(
                    f"HTTP/1.1 {status}\r\n{location}Content-Length: {len(body)}\r\n\r\n".encode() + body
                )
                await writer.drain()
        writer.close()


@contextlib.asynccontextmanager
async def serving(context: ssl.SSLContext | None = None) -> AsyncIterator[Record]:
    record = Record()
    server = await asyncio.start_server(record, "127.0.0.1", 0, ssl=context)
    port = server.sockets[0].getsockname()[1]
    record.base = f"{'https' if context else 'http'}://localhost:{port}/r4"
    try:
        yield record
    finally:
        server.close()


@pytest.fixture
async def record() -> AsyncIterator[Record]:
    async with serving() as one:
        yield one


def reader_of(
    base: str, settings: OutsideSettings = QUICK, **site: float
) -> tuple[FhirReader, OutsideTransport]:
    transport = OutsideTransport(settings)
    return FhirReader.over_http(Settings(fhir_servers=(base,), **site), transport), transport  # type: ignore[arg-type]


async def ask(reader: FhirReader, base: str) -> tuple[dict[str, object], str]:
    found, gaps = await reader.fetch(Server(base, "t"), {"meds": "MedicationRequest?patient=p1"})
    return found, gaps[0].reason if gaps else ""


@pytest.mark.parametrize("fault", ["reset", "502", "503", "504", "429"])
async def test_a_fault_that_passes_is_tried_again(record: Record, fault: str) -> None:
    record.plan = [fault]
    reader, _ = reader_of(record.base)
    found, reason = await ask(reader, record.base)
    assert (set(found), reason) == ({"meds"}, "")
    assert record.asked == 2
    await reader.aclose()


@pytest.mark.parametrize("answer", ["401", "403", "404", "500", "302"])
async def test_what_will_not_pass_is_not_tried_again(record: Record, answer: str) -> None:
    record.then = answer
    reader, _ = reader_of(record.base)
    _, reason = await ask(reader, record.base)
    assert (record.asked, reason) == (1, f"answered {answer}")
    await reader.aclose()


async def test_writing_is_never_sent_twice(record: Record) -> None:
    record.then = "503"
    async with httpx.AsyncClient(transport=OutsideTransport(QUICK)) as client:
        assert (await client.post(record.base, content=b"x")).status_code == 503
    assert record.asked == 1


async def test_a_system_that_fails_is_left_alone_and_asked_again_later(record: Record) -> None:
    record.then = "503"
    reader, transport = reader_of(record.base)
    reasons = [(await ask(reader, record.base))[1] for _ in range(4)]
    asked = record.asked
    assert reasons[-1] == CircuitOpen.__name__
    assert asked == QUICK.failures
    assert list(transport.states.values()) == [True]
    began = time.monotonic()
    for _ in range(50):
        assert (await ask(reader, record.base))[1] == CircuitOpen.__name__
    assert record.asked == asked  # nothing was sent
    assert time.monotonic() - began < 5
    await asyncio.sleep(QUICK.open_seconds + 0.05)
    assert (await ask(reader, record.base))[1] in ("answered 503", CircuitOpen.__name__)  # one try: still bad
    assert (await ask(reader, record.base))[1] == CircuitOpen.__name__
    assert record.asked == asked + 1
    record.then = "well"
    await asyncio.sleep(QUICK.open_seconds + 0.05)
    assert set((await ask(reader, record.base))[0]) == {"meds"}
    assert list(transport.states.values()) == [False]
    await reader.aclose()


async def test_a_system_that_hangs_opens_the_breaker_too(record: Record) -> None:
    record.then = "hang"
    reader, transport = reader_of(record.base, fetch_seconds=0.1)
    for _ in range(QUICK.failures):
        assert (await ask(reader, record.base))[1] == "took too long"
    assert (await ask(reader, record.base))[1] == CircuitOpen.__name__
    assert list(transport.states.values()) == [True]
    await reader.aclose()


async def test_one_broken_system_does_not_shut_out_another(record: Record) -> None:
    async with serving() as other:
        record.then = "503"
        transport = OutsideTransport(QUICK)
        reader = FhirReader.over_http(Settings(fhir_servers=(record.base, other.base)), transport)
        for _ in range(4):
            await ask(reader, record.base)
        assert set((await ask(reader, other.base))[0]) == {"meds"}
        assert sorted(transport.states.values()) == [False, True]
        await reader.aclose()


async def test_a_wall_clock_that_goes_back_does_not_keep_a_breaker_open(
    record: Record, monkeypatch: pytest.MonkeyPatch
) -> None:
    reader, _ = reader_of(record.base)
    record.then = "503"
    for _ in range(4):
        await ask(reader, record.base)
    record.then = "well"
    now = time.time
    monkeypatch.setattr("purgatory.domain.model.time.time", lambda: now() - 3600)
    await asyncio.sleep(QUICK.open_seconds + 0.05)
    await ask(reader, record.base)
    assert set((await ask(reader, record.base))[0]) == {"meds"}
    await reader.aclose()


async def test_no_server_at_all_is_a_gap_and_soon_a_breaker(free_port: int) -> None:
    base = f"http://127.0.0.1:{free_port}/r4"
    reader, transport = reader_of(base)
    assert (await ask(reader, base))[1] == "ConnectError"
    await ask(reader, base)
    assert list(transport.states.values()) == [True]
    await reader.aclose()


@pytest.mark.parametrize(
    ("name", "leads_to", "networks", "may"),
    [
        ("fhir.hospital.example", "10.1.2.3", (), True),
        ("fhir.hospital.example", "127.0.0.1", (), False),
        ("fhir.hospital.example", "::1", (), False),
        ("fhir.hospital.example", "::ffff:127.0.0.1", (), False),
        ("fhir.hospital.example", "169.254.169.254", (), False),
        ("fhir.hospital.example", "::ffff:169.254.169.254", (), False),
        ("fhir.hospital.example", "fe80::1%eth0", (), False),
        ("fhir.hospital.example", "0.0.0.0", (), False),
        ("fhir.hospital.example", "224.0.0.1", (), False),
        ("169.254.169.254", "169.254.169.254", (), False),
        ("localhost", "127.0.0.1", (), True),
        ("127.0.0.1", "127.0.0.1", (), True),
        ("[::1]", "::1", (), True),
        ("fhir.hospital.example", "10.1.2.3", ("10.1.0.0/16",), True),
        ("fhir.hospital.example", "10.2.2.3", ("10.1.0.0/16",), False),
        ("fhir.hospital.example", "8.8.8.8", ("10.1.0.0/16", "fd00::/8"), False),
    ],
)
async def test_a_listed_name_may_not_lead_to_an_address_that_no_system_outside_has(
    name: str, leads_to: str, networks: tuple[str, ...], may: bool
) -> None:
    reached: list[httpx.Request] = []

    def pool(_context: ssl.SSLContext) -> httpx.AsyncBaseTransport:
        def answer(request: httpx.Request) -> httpx.Response:
            reached.append(request)
            return httpx.Response(200)

        return httpx.MockTransport(answer)

    async def resolve(_host: str, _port: int) -> tuple[str, ...]:
        return (leads_to,)

    transport = OutsideTransport(OutsideSettings(networks=networks), resolve, pool)
    async with httpx.AsyncClient(transport=transport) as client:
        if may:
            await client.get(f"https://{name}:8443/r4/metadata")
            (request,) = reached
            assert request.url.host == leads_to  # the address that was looked at, not the name once more
            assert request.headers["host"] == f"{name}:8443"
            assert request.extensions["sni_hostname"] == name.strip("[]")
        else:
            with pytest.raises(ForbiddenAddress):
                await client.get(f"https://{name}:8443/r4/metadata")
            assert reached == []


async def test_a_name_that_is_bound_anew_is_looked_at_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    answers = ["10.0.0.1", "127.0.0.1"]

    async def resolve(_host: str, _port: int) -> tuple[str, ...]:
        return (answers.pop(0),)

    def pool(_context: ssl.SSLContext) -> httpx.AsyncBaseTransport:
        return httpx.MockTransport(lambda _request: httpx.Response(200))

    monkeypatch.setattr(outside, "_KNOWN_SECONDS", 0.0)
    async with httpx.AsyncClient(transport=OutsideTransport(QUICK, resolve, pool)) as client:
        await client.get("http://fhir.hospital.example/")
        with pytest.raises(ForbiddenAddress):
            await client.get("http://fhir.hospital.example/")


@pytest.fixture
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def pem(tmp_path: Path) -> Callable[[str, trustme.Blob], str]:
    def write(name: str, blob: trustme.Blob) -> str:
        path = tmp_path / name
        blob.write_to_path(path)
        return str(path)

    return write


def asking_for_certificates(authority: trustme.CA) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(context)
    authority.configure_trust(context)
    context.verify_mode = ssl.CERT_REQUIRED
    return context


async def test_a_record_that_wants_our_certificate_gets_it(
    authority: trustme.CA, pem: Callable[[str, trustme.Blob], str]
) -> None:
    ours = authority.issue_cert("ruleward.hospital.example")
    settings = OutsideSettings(
        certificate=pem("cert.pem", ours.cert_chain_pems[0]),
        key=pem("key.pem", ours.private_key_pem),
        authority=pem("ca.pem", authority.cert_pem),
    )
    async with serving(asking_for_certificates(authority)) as record:
        reader, _ = reader_of(record.base, settings)
        found, reason = await ask(reader, record.base)
        assert (set(found), reason) == ({"meds"}, "")
        await reader.aclose()


async def test_without_our_certificate_or_with_a_stranger_for_a_record_nothing_is_read(
    authority: trustme.CA, pem: Callable[[str, trustme.Blob], str]
) -> None:
    trusting = OutsideSettings(authority=pem("ca.pem", authority.cert_pem))
    async with serving(asking_for_certificates(authority)) as record:
        for settings in (trusting, OutsideSettings()):
            reader, _ = reader_of(record.base, settings)
            found, reason = await ask(reader, record.base)
            assert found == {}
            assert reason
            await reader.aclose()
        assert record.asked == 0


@pytest.mark.parametrize(
    "environment",
    [
        {"RULEWARD_OUTSIDE_NETWORKS": "ten/8"},
        {"RULEWARD_OUTSIDE_CERTIFICATE": "a.pem"},
        {"RULEWARD_OUTSIDE_KEY": "a.pem"},
    ],
)
def test_a_setting_that_cannot_be_meant_names_its_variable(environment: dict[str, str]) -> None:
    with pytest.raises(ValueError, match=next(iter(environment))):
        read_outside_settings(environment)
