"""Rules change while requests run: none fails, none is answered from two releases, every worker follows."""

from __future__ import annotations

import asyncio
import signal
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

import httpx
import pytest

PLACE = b"00000000-0000-4000-8000-000000000000"
PATH = "/cds-services/ruleward-order-sign"
RELOADS = 10
CLIENTS = 4


class Service(Protocol):
    base: str
    data: Path
    process: Any

    def start(self, *, until: int = 200) -> None: ...
    def stop(self) -> int: ...
    def status(self) -> dict[str, Any]: ...
    def ready(self) -> tuple[int, dict[str, Any]]: ...
    def log(self) -> str: ...


class Folder(Protocol):
    RULE: str
    root: Path

    def say(self, words: str) -> None: ...
    def write(self, path: str, text: str) -> None: ...
    def mend(self) -> None: ...


class Seen:
    """What clients were answered: which words under which release, and what failed."""

    def __init__(self) -> None:
        self.words: dict[str, set[str]] = {}
        self.failed: list[str] = []
        self.count = 0

    def note(self, answer: httpx.Response) -> None:
        if answer.status_code != 200:
            self.failed.append(f"{answer.status_code} {answer.text[:300]}")
            return
        told = answer.json()
        release = told["extension"]["com.ruleward.decision"]["release"]
        self.words.setdefault(release, set()).update(card["summary"] for card in told["cards"])
        self.count += 1


async def ask(client: httpx.AsyncClient, body: bytes, seen: Seen, ending: asyncio.Event) -> None:
    while not ending.is_set():
        own = body.replace(PLACE, str(uuid.uuid4()).encode())
        try:
            seen.note(await client.post(PATH, content=own, headers={"Accept-Language": "en"}))
        except httpx.HTTPError as error:
            seen.failed.append(repr(error))


async def until_all_run_another(client: httpx.AsyncClient, before: str) -> float:
    """Return the seconds from the announcement until both workers run a release that is not ``before``."""
    announced: float | None = None
    for _ in range(4000):
        status = (await client.get("/releases/status")).json()
        newest = status["announced"]["release"]
        if newest != before and announced is None:
            announced = time.monotonic()
        if announced is not None and all(one["release"] == newest for one in status["workers"]):
            return time.monotonic() - announced
        await asyncio.sleep(0.005)
    raise AssertionError("the workers do not follow")


async def reload_under_load(base: str, folder: Folder, body: bytes) -> tuple[Seen, list[float]]:
    seen, ending, took = Seen(), asyncio.Event(), []
    async with httpx.AsyncClient(base_url=base, timeout=30, trust_env=False, verify=False) as client:
        asking = [asyncio.create_task(ask(client, body, seen, ending)) for _ in range(CLIENTS)]
        for number in range(RELOADS):
            before = (await client.get("/releases/status")).json()["announced"]["release"]
            folder.say(f"number {number}")
            took.append(await until_all_run_another(client, before))
            await asyncio.sleep(0.1)
        ending.set()
        await asyncio.gather(*asking)
    return seen, took


def test_ten_reloads_under_load_fail_no_request_and_mix_no_releases(
    shared_service: tuple[Service, Folder], order_sign: bytes
) -> None:
    service, folder = shared_service
    seen, took = asyncio.run(reload_under_load(service.base, folder, order_sign))
    folder.mend()
    milliseconds = sorted(round(one * 1000) for one in took)
    print(f"\n{seen.count} answers, {len(seen.words)} releases, all workers after {milliseconds} ms")
    assert not seen.failed
    assert len(seen.words) >= RELOADS
    # The rule's words differ with every release: an answer from two of them would say the other's.
    spoken = {release: {word for word in words if "is for" in word} for release, words in seen.words.items()}
    assert all(len(words) == 1 for words in spoken.values()), spoken
    assert len({word for words in spoken.values() for word in words}) == len(spoken)
    assert max(took) <= 2.0


def metric(base: str, name: str) -> float:
    text = httpx.get(f"{base}/metrics", trust_env=False).text
    return float(next(line.split()[-1] for line in text.splitlines() if line.startswith(f"{name} ")))


def eventually(holds: Callable[[], bool]) -> None:
    give_up = time.monotonic() + 20
    while not holds():
        assert time.monotonic() < give_up
        time.sleep(0.02)


def test_a_broken_rule_is_shown_by_ready_metrics_and_log_until_it_is_mended(
    shared_service: tuple[Service, Folder],
) -> None:
    service, folder = shared_service
    release = service.ready()[1]["release"]
    folder.write(folder.RULE, "id: demo.sex_limit\nwhen: [")
    eventually(lambda: metric(service.base, "ruleward_release_refused") == 1)
    eventually(lambda: service.ready()[1]["refused"] is not None)
    status, body = service.ready()
    assert status == 200
    assert body["release"] == release
    problem = body["refused"]["problems"][0]
    assert problem["where"] == "rules/demo/sex_limit/rule.yaml"
    assert problem["what"].startswith("cannot be read")
    assert problem["mend"]
    assert "refused: F01 rules/demo/sex_limit/rule.yaml cannot be read" in service.log()
    folder.mend()
    eventually(lambda: all(metric(service.base, "ruleward_release_refused") == 0 for _ in range(6)))
    assert service.ready()[1]["refused"] is None


def sign(base: str, body: bytes) -> httpx.Response:
    own = body.replace(PLACE, str(uuid.uuid4()).encode())
    return httpx.post(
        f"{base}{PATH}", content=own, headers={"Accept-Language": "en"}, trust_env=False, timeout=30
    )


@pytest.mark.postgresql
def test_a_service_that_starts_without_its_database_decides_from_disk_and_says_not_recorded(
    new_service: Callable[..., Service],
    free_port: int,
    rules_folder: Folder,
    order_sign: bytes,
    mortal_postgres: Any,
) -> None:
    url = mortal_postgres.new_database()
    service = new_service(
        free_port, RULEWARD_RULES=str(rules_folder.root), RULEWARD_DATABASE_URL=url, RULEWARD_PATIENCE="0.5"
    )
    service.start()
    first = sign(service.base, order_sign).json()
    assert first["extension"]["com.ruleward.decision"]["recorded"]
    assert service.stop() == 0
    mortal_postgres.end(signal.SIGQUIT)

    service.start(until=503)
    eventually(lambda: service.ready()[1].get("from_disk") is True)
    told = sign(service.base, order_sign).json()
    decision = told["extension"]["com.ruleward.decision"]
    assert not decision["recorded"]
    assert decision["release"] == first["extension"]["com.ruleward.decision"]["release"]
    assert "could not be recorded" in told["cards"][0]["summary"]
    assert any("alpha" in card["summary"] for card in told["cards"])

    mortal_postgres.start()
    eventually(lambda: service.ready()[0] == 200)
    assert sign(service.base, order_sign).json()["extension"]["com.ruleward.decision"]["recorded"]
    assert service.stop() == 0

    # Now the copy on disk is altered as well: nothing may be decided.
    mortal_postgres.end(signal.SIGQUIT)
    copy = service.data / "last-good.release"
    content = copy.read_bytes()
    copy.write_bytes(content[:200] + bytes([content[200] ^ 1]) + content[201:])
    service.start(until=503)
    eventually(lambda: service.ready()[1].get("refused") is not None)
    assert service.ready()[1]["release"] == ""
    answer = sign(service.base, order_sign)
    assert answer.status_code == 503
    assert "nothing was checked" in answer.text
