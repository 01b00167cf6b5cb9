"""kill -9 of a worker or of the whole service under load loses no decision that was answered.

``RULEWARD_KILL_ROUNDS`` sets the number of rounds (20 when unset; the long run takes 200).
"""

from __future__ import annotations

import asyncio
import os
import random
import signal
import sqlite3
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

import httpx
import pytest

PLACE = b"00000000-0000-4000-8000-000000000000"
PATH = "/cds-services/ruleward-order-sign"
ROUNDS = int(os.environ.get("RULEWARD_KILL_ROUNDS", "20"))
SEED = int(os.environ.get("RULEWARD_KILL_SEED", "20260301"))
CLIENTS = 8
WHOLE_EVERY = 7
"""Every so many rounds the whole service dies, in the others one worker."""


class Service(Protocol):
    base: str
    data: Path

    def start(self) -> None: ...
    def workers(self) -> list[int]: ...
    def kill(self) -> None: ...
    def kill_all(self) -> None: ...
    def ready(self) -> tuple[int, dict[str, Any]]: ...


class Folder(Protocol):
    root: Path


class Load:
    """Clients that send orders one after the other and remember what was answered."""

    def __init__(self, base: str, body: bytes) -> None:
        self.base, self._body = base, body
        self.answered: set[str] = set()
        self.cut = 0
        self.wrong: list[str] = []
        self._ending = False
        self._first = asyncio.Event()

    async def client(self) -> None:
        """Send until told to end; what was not answered is not counted as answered."""
        async with httpx.AsyncClient(base_url=self.base, timeout=20, trust_env=False, verify=False) as client:
            while not self._ending:
                body = self._body.replace(PLACE, str(uuid.uuid4()).encode())
                try:
                    answer = await client.post(PATH, content=body)
                except httpx.HTTPError:
                    self.cut += 1
                    await asyncio.sleep(0.005)
                    continue
                if answer.status_code != 200:
                    self.wrong.append(f"{answer.status_code} {answer.text[:200]}")
                    continue
                decision = answer.json()["extension"]["com.ruleward.decision"]
                if decision["recorded"]:
                    self.answered.add(decision["id"])
                    self._first.set()

    async def run(self, seconds: float, then: Callable[[], None]) -> None:
        """Call ``then`` so long after the first answer, and wait until each client has its last one."""
        self._ending = False
        self._first = asyncio.Event()  # of this run's loop
        working = [asyncio.create_task(self.client()) for _ in range(CLIENTS)]
        await asyncio.wait_for(self._first.wait(), 30)
        await asyncio.sleep(seconds)
        then()
        self._ending = True
        await asyncio.gather(*working)


def logged(data: Path) -> set[str]:
    with sqlite3.connect(f"file:{data / 'ruleward.db'}?mode=ro", uri=True) as connection:
        return {row[0] for row in connection.execute("SELECT id FROM decision")}


def run_rounds(service: Service, body: bytes, rounds: int) -> None:
    chance = random.Random(SEED)
    load = Load(service.base, body)
    service.start()
    for number in range(rounds):
        whole = number % WHOLE_EVERY == WHOLE_EVERY - 1

        def strike(whole: bool = whole) -> None:
            if whole:
                chance.choice((service.kill, service.kill_all))()
                return
            os.kill(chance.choice(service.workers()), signal.SIGKILL)

        asyncio.run(load.run(chance.uniform(0.0, 0.4), strike))
        if whole:
            service.start()
        missing = load.answered - logged(service.data)
        assert not missing, f"{len(missing)} answered decisions are lost in round {number} (seed {SEED})"
    assert not load.wrong
    print(f"\n{rounds} kills, {len(load.answered)} answered, {load.cut} cut, 0 lost")


def test_a_killed_service_has_lost_no_answered_decision(
    new_service: Callable[..., Service], free_port: int, rules_folder: Folder, order_sign: bytes
) -> None:
    run_rounds(new_service(free_port, RULEWARD_RULES=str(rules_folder.root)), order_sign, ROUNDS)


@pytest.mark.long
def test_two_hundred_kills_lose_no_answered_decision(
    new_service: Callable[..., Service], free_port: int, rules_folder: Folder, order_sign: bytes
) -> None:
    run_rounds(new_service(free_port, RULEWARD_RULES=str(rules_folder.root)), order_sign, max(200, ROUNDS))
