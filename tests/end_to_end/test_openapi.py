"""Whatever is sent to whatever operation: a declared answer, and never a 5xx from a service that is ready."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Protocol

import httpx
import pytest

SECONDS = 30
EXAMPLES = 12
CDS = "/cds-services/ruleward-order-sign"


class Service(Protocol):
    base: str

    def ready(self) -> tuple[int, dict[str, Any]]: ...
    def workers(self) -> list[int]: ...


Shared = tuple[Service, object]


def test_schemathesis_finds_no_server_error_and_no_undeclared_answer(
    shared_service: Shared, tmp_path: Path
) -> None:
    service, _ = shared_service
    before = service.workers()
    checks = "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance"
    done = subprocess.run(
        [
            *(str(Path(sys.executable).with_name("st")), "run", f"{service.base}/openapi.json"),
            *("--checks", checks, "--mode", "all", "--phases", "examples,coverage,fuzzing"),
            *("--max-examples", str(EXAMPLES), "--max-time", str(SECONDS), "--seed", "20260301"),
            *("--generation-database", "none", "--no-color"),
        ],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=SECONDS * 4,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
    described = httpx.get(f"{service.base}/openapi.json", trust_env=False).json()["paths"]
    count = sum(len(operations) for operations in described.values())
    assert f"{count} selected / {count} total" in done.stdout
    assert service.workers() == before, "a worker died"


def valid(order_sign: bytes) -> dict[str, Any]:
    body: dict[str, Any] = json.loads(order_sign)
    return body


def nested(depth: int) -> bytes:
    return b"[" * depth + b"]" * depth


def inside(body: bytes, key: bytes, value: bytes) -> bytes:
    """Write raw JSON as the value of a first key of an object."""
    return b"{" + key + b": " + value + b", " + body[1:]


PATHS = (CDS, "/cds-services/ruleward-order-select", f"{CDS}/feedback", "/nhsa", "/nhsa/3101", "/nhsa/3102",
         "/nhsa/3103", "/decisions", "/decisions/explain")  # fmt: skip
RAW: dict[str, bytes] = {
    "nothing": b"",
    "no JSON": b"{",
    "not UTF-8": b'{"a": "\xff\xfe"}',
    "a byte order mark": b"\xef\xbb\xbf{}",
    "UTF-16": "{}".encode("utf-16"),
    "NaN": b'{"a": NaN}',
    "Infinity": b'{"a": -Infinity}',
    "a number without end": b'{"a": 1e999}',
    "a whole number of 5000 digits": b'{"a": ' + b"9" * 5000 + b"}",
    "a lone surrogate": b'{"a": "\\ud800"}',
    "a NUL": b'{"a": "\\u0000"}',
    "a control character": b'{"a": "\x01"}',
    "nested 10 000 deep": nested(10_000),
    "objects nested 10 000 deep": b'{"a":' * 10_000 + b"1" + b"}" * 10_000,
    "something behind its end": b"{}{}",
    "null": b"null",
    "a list": b"[]",
    "a text": b'"text"',
    "a number": b"1",
    "an empty object": b"{}",
    "10 MB": b'{"a": "' + b"x" * 10_000_000 + b'"}',
}


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("kind", RAW)
def test_a_body_that_is_no_request_is_refused_with_the_path_of_its_fault(
    shared_service: Shared, path: str, kind: str
) -> None:
    service, _ = shared_service
    answer = httpx.post(f"{service.base}{path}", content=RAW[kind], trust_env=False, timeout=30)
    assert 400 <= answer.status_code < 500, answer.text
    told = answer.json()
    assert told["status"] == answer.status_code
    assert told["path"].startswith("$")


WRONG: tuple[object, ...] = (
    None,
    True,
    1,
    -1.5,
    "",
    "text",
    [],
    [1],
    {},
    {"a": {}},
    [[[]]],
    "\ud800",
    "\x00",
    10**30,
)


def places(value: object, path: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    """Yield the place of every value inside a document, outermost first."""
    yield path
    if isinstance(value, dict):
        for key, one in value.items():
            yield from places(one, (*path, key))
    elif isinstance(value, list):
        for position, one in enumerate(value):
            yield from places(one, (*path, position))


def with_value(document: object, path: tuple[str | int, ...], value: object) -> object:
    if not path:
        return value
    copy: Any = json.loads(json.dumps(document))
    held = copy
    for step in path[:-1]:
        held = held[step]
    held[path[-1]] = value
    return copy


def sweep(service: Service, path: str, document: object, allowed: Callable[[int], bool]) -> int:
    sent = 0
    with httpx.Client(base_url=service.base, trust_env=False, timeout=30) as client:
        for place in places(document):
            for wrong in WRONG:
                answer = client.post(path, content=json.dumps(with_value(document, place, wrong)).encode())
                sent += 1
                assert allowed(answer.status_code), (place, wrong, answer.text)
                if 400 <= answer.status_code < 500:
                    assert answer.json()["path"], (place, wrong, answer.text)
    return sent


def declared(status: int) -> bool:
    return status in (200, 400, 404, 409, 412, 413, 422)


def test_a_wrong_type_at_any_place_of_an_order_is_no_server_error(
    shared_service: Shared, order_sign: bytes
) -> None:
    document = valid(order_sign)
    document["context"]["draftOrders"]["entry"][1:] = []
    document["prefetch"]["labs"] = {
        "resourceType": "Bundle",
        "entry": [
            {
                "resource": {
                    "resourceType": "Observation",
                    "code": {"coding": [{"system": "http://loinc.org", "code": "14682-9"}]},
                    "effectiveDateTime": "2026-02-27T08:00:00+08:00",
                    "valueQuantity": {"value": 88, "unit": "umol/L"},
                }
            }
        ],
    }
    assert sweep(shared_service[0], CDS, document, declared) > 500


def test_a_wrong_type_at_any_place_of_stated_facts_is_no_server_error(shared_service: Shared) -> None:
    document = {
        "stage": "order_sign",
        "facts": {
            "patient": {"sex": "male", "age_years": 40, "birth_date": "1980-05-01"},
            "medications": [{"id": "m1", "name": "alpha", "start": "2026-03-01T00:00:00", "agents": ["a"]}],
            "charges": [{"id": "c1", "amount": "12.50"}],
        },
        "rules": ["demo.sex_limit"],
    }
    assert sweep(shared_service[0], "/decisions", document, declared) > 200


def test_a_wrong_type_at_any_place_of_an_insurer_message_is_no_server_error(shared_service: Shared) -> None:
    shipped = Path(__file__).resolve().parents[2] / "docs/examples/3101.json"
    document = json.loads(shipped.read_text(encoding="utf-8"))
    assert sweep(shared_service[0], "/nhsa/3101", document, declared) > 300


def test_huge_but_well_formed_orders_are_answered_or_refused(
    shared_service: Shared, order_sign: bytes
) -> None:
    service, _ = shared_service
    many = valid(order_sign)
    entry = many["context"]["draftOrders"]["entry"]
    entry[:] = [
        {"resource": {**entry[0]["resource"], "id": f"m{number}", "note": "x" * 20}}
        for number in range(10_000)
    ]
    long_text = valid(order_sign)
    long_text["context"]["draftOrders"]["entry"][0]["resource"]["medicationCodeableConcept"]["text"] = (
        "阿" * 900_000
    )
    deep = valid(order_sign)
    deep["extension"] = json.loads(nested(60))
    for body in (many, long_text, deep):
        answer = httpx.post(f"{service.base}{CDS}", content=json.dumps(body), trust_env=False, timeout=60)
        assert declared(answer.status_code), answer.text[:500]
    assert service.ready()[0] == 200
