"""One idempotency key sent again and again, at once, replies cut: one row, one audit entry, one answer."""

from __future__ import annotations

import asyncio
import json
import random
import sqlite3
import uuid
from pathlib import Path
from typing import Any, Protocol

import httpx
import pytest

AT_ONCE = 0.3
CUT = 0.15
"""Shares: sent at once, and sent besides with the connection closed before the answer has come."""
PLACE = b"00000000-0000-4000-8000-000000000000"
CDS = "/cds-services/ruleward-order-sign"


class Service(Protocol):
    base: str
    port: int
    data: Path


def kept(data: Path, query: str, *values: str) -> list[str]:
    with sqlite3.connect(f"file:{data / 'ruleward.db'}?mode=ro", uri=True) as connection:
        return [row[0] for row in connection.execute(query, values)]


def rows(data: Path, interface: str) -> list[str]:
    return kept(data, "SELECT id FROM decision WHERE interface = ?", interface)


def entries(data: Path) -> list[str]:
    return kept(data, "SELECT object FROM audit_entry WHERE kind = 'check'")


async def cut(
    service: Service, path: str, headers: dict[str, str], body: bytes, chance: random.Random
) -> None:
    """Send a request and hang up before its answer."""
    _, writer = await asyncio.open_connection("127.0.0.1", service.port)
    lines = [f"POST {path} HTTP/1.1", "Host: x", f"Content-Length: {len(body)}"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    writer.write("\r\n".join([*lines, "", ""]).encode() + body)
    await writer.drain()
    await asyncio.sleep(chance.uniform(0, 0.05))
    writer.close()


async def send_again_and_again(
    service: Service, path: str, headers: dict[str, str], body: bytes, times: int
) -> list[bytes]:
    answers: list[bytes] = []
    chance = random.Random(times)
    at_once = round(times * AT_ONCE)
    gate = asyncio.Semaphore(1)
    async with httpx.AsyncClient(
        base_url=service.base,
        timeout=30,
        trust_env=False,
        verify=False,
        limits=httpx.Limits(max_connections=at_once + 1),
    ) as client:

        async def once(*, alone: bool) -> None:
            if alone:
                async with gate:
                    answer = await client.post(path, content=body, headers=headers)
            else:
                answer = await client.post(path, content=body, headers=headers)
            assert answer.status_code == 200, answer.text
            answers.append(answer.content)

        sending: list[Any] = [once(alone=False) for _ in range(at_once)]
        sending += [once(alone=True) for _ in range(times - at_once)]
        sending += [cut(service, path, headers, body, chance) for _ in range(round(times * CUT))]
        chance.shuffle(sending)
        await asyncio.gather(*sending)
    return answers


@pytest.mark.parametrize("times", [200, pytest.param(1000, marks=pytest.mark.long)])
@pytest.mark.parametrize("interface", ["cds-hooks", "decisions"])
def test_one_key_sent_again_and_again_is_one_row_one_audit_entry_and_one_answer(
    shared_service: tuple[Service, object], order_sign: bytes, interface: str, times: int
) -> None:
    service, _ = shared_service
    headers = {"Content-Type": "application/json"}
    if interface == "cds-hooks":
        path, body = CDS, order_sign.replace(PLACE, str(uuid.uuid4()).encode())
    else:
        path, headers["Idempotency-Key"] = "/decisions", str(uuid.uuid4())
        facts = {"patient": {"sex": "male", "age_years": 40}, "medications": [{"id": "m1", "name": "alpha"}]}
        body = json.dumps({"stage": "order_sign", "facts": facts}).encode()
    before = len(rows(service.data, interface)), len(entries(service.data))
    answers = asyncio.run(send_again_and_again(service, path, headers, body, times))
    assert len(answers) == times
    assert len(set(answers)) == 1
    told = json.loads(answers[0])
    found = told["id"] if interface == "decisions" else told["extension"]["com.ruleward.decision"]["id"]
    after, audited = rows(service.data, interface), entries(service.data)
    assert (len(after) - before[0], after.count(found)) == (1, 1)
    assert (len(audited) - before[1], audited.count(f"decision/{found}")) == (1, 1)


def test_the_same_key_with_another_body_is_refused(shared_service: tuple[Service, object]) -> None:
    service, _ = shared_service
    headers = {"Idempotency-Key": str(uuid.uuid4())}
    statuses = [
        httpx.post(
            f"{service.base}/decisions",
            json={"stage": "order_sign", "facts": {"patient": {"sex": sex}}},
            headers=headers,
            trust_env=False,
        ).status_code
        for sex in ("male", "female", "male")
    ]
    assert statuses == [200, 409, 200]
