"""The same idempotency key sent again and again, at once and with replies lost: one row, one answer."""

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

TIMES = 200
AT_ONCE = 60
CUT_EVERY = 7
PLACE = b"00000000-0000-4000-8000-000000000000"
CDS = "/cds-services/ruleward-order-sign"


class Service(Protocol):
    base: str
    port: int
    data: Path


def rows(data: Path, interface: str, ids: set[str]) -> int:
    with sqlite3.connect(f"file:{data / 'ruleward.db'}?mode=ro", uri=True) as connection:
        query = f"SELECT count(*) FROM decision WHERE interface = ? AND id IN ({','.join('?' * len(ids))})"
        found: int = connection.execute(query, [interface, *sorted(ids)]).fetchone()[0]
        return found


async def cut(service: Service, path: str, headers: dict[str, str], body: bytes) -> None:
    """Send a request and hang up before its answer."""
    _, writer = await asyncio.open_connection("127.0.0.1", service.port)
    lines = [f"POST {path} HTTP/1.1", "Host: x", f"Content-Length: {len(body)}"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    writer.write("\r\n".join([*lines, "", ""]).encode() + body)
    await writer.drain()
    await asyncio.sleep(random.Random(len(body)).uniform(0, 0.01))
    writer.close()


async def send_again_and_again(
    service: Service, path: str, headers: dict[str, str], body: bytes
) -> list[bytes]:
    answers: list[bytes] = []
    gate = asyncio.Semaphore(1)
    async with httpx.AsyncClient(
        base_url=service.base,
        timeout=30,
        trust_env=False,
        verify=False,
        limits=httpx.Limits(max_connections=70),
    ) as client:

        async def once(*, alone: bool) -> None:
            if alone:
                async with gate:
                    answer = await client.post(path, content=body, headers=headers)
            else:
                answer = await client.post(path, content=body, headers=headers)
            assert answer.status_code == 200, answer.text
            answers.append(answer.content)

        sending: list[Any] = [once(alone=False) for _ in range(AT_ONCE)]
        sending += [once(alone=True) for _ in range(TIMES - AT_ONCE)]
        sending += [cut(service, path, headers, body) for _ in range(TIMES // CUT_EVERY)]
        await asyncio.gather(*sending)
    return answers


@pytest.mark.parametrize("interface", ["cds-hooks", "decisions"])
def test_one_key_sent_two_hundred_times_is_one_row_and_one_answer(
    shared_service: tuple[Service, object], order_sign: bytes, interface: str
) -> None:
    service, _ = shared_service
    headers = {"Content-Type": "application/json"}
    if interface == "cds-hooks":
        path, body = CDS, order_sign.replace(PLACE, str(uuid.uuid4()).encode())
    else:
        path, headers["Idempotency-Key"] = "/decisions", str(uuid.uuid4())
        facts = {"patient": {"sex": "male", "age_years": 40}, "medications": [{"id": "m1", "name": "alpha"}]}
        body = json.dumps({"stage": "order_sign", "facts": facts}).encode()
    answers = asyncio.run(send_again_and_again(service, path, headers, body))
    assert len(answers) == TIMES
    assert len(set(answers)) == 1
    told = json.loads(answers[0])
    found = told["id"] if interface == "decisions" else told["extension"]["com.ruleward.decision"]["id"]
    assert rows(service.data, interface, {found}) == 1


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
