"""kill -9 under load, of whatever the service rests on, loses no decision that was answered, nor its audit.

``RULEWARD_KILL_ROUNDS`` sets the number of rounds of the long runs (200 when unset).
"""

from __future__ import annotations

import asyncio
import os
import random
import signal
import statistics
import time
import uuid
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol

import httpx
import pytest
import sqlalchemy as sa

from engine.access import Role

PLACE = b"00000000-0000-4000-8000-000000000000"
PATH = "/cds-services/ruleward-order-sign"
LONG = int(os.environ.get("RULEWARD_KILL_ROUNDS", "200"))
SEED = int(os.environ.get("RULEWARD_KILL_SEED", "20260301"))
CLIENTS = 8
PATIENCE = 60.0
"""Seconds until every client must have been served again: so long that only a service that is lost fails."""

Strike = Callable[[], float]
"""Kill something and see that it runs again; returns when it was there again, in monotonic seconds."""


class Callers(Protocol):
    def token(self, role: Role) -> str: ...
    def close(self) -> None: ...


class Service(Protocol):
    base: str
    data: Path

    def start(self) -> None: ...
    def workers(self) -> list[int]: ...
    def kill_all(self) -> None: ...
    def kill_supervisor(self) -> None: ...
    def log(self) -> str: ...
    def database(self) -> sa.Engine: ...
    def callers(self) -> Callers: ...
    def audit_faults(self) -> list[str]: ...


class Folder(Protocol):
    root: Path


class Load:
    """Clients that send orders one after the other and remember what was answered, and how else it went."""

    def __init__(self, base: str, body: bytes, token: Callable[[], str] | None = None) -> None:
        self.base, self._body, self._token = base, body, token
        self.answered: set[str] = set()
        self.saw: dict[str, Counter[str]] = {}
        self.recovery: dict[str, list[float]] = {}
        self.wrong: list[str] = []
        self._now: Counter[str] = Counter()
        self._sent_at = [0.0] * CLIENTS
        self._ending = False

    async def client(self, number: int) -> None:
        """Send until told to end; what was not answered as recorded is not counted as answered."""
        headers = {"Accept-Language": "en"}
        if self._token:
            headers["Authorization"] = f"Bearer {self._token()}"
        async with httpx.AsyncClient(
            base_url=self.base, timeout=20, trust_env=False, verify=False, headers=headers
        ) as client:
            while not self._ending:
                sent_at = time.monotonic()
                if not await self._send(client):
                    await asyncio.sleep(0.1)  # as a caller would who does not make it worse
                else:
                    self._sent_at[number] = sent_at

    async def _send(self, client: httpx.AsyncClient) -> bool:
        body = self._body.replace(PLACE, str(uuid.uuid4()).encode())
        try:
            answer = await client.post(PATH, content=body)
        except httpx.HTTPError as error:
            self._now[type(error).__name__] += 1
            return False
        if answer.status_code != 200:
            self._now[str(answer.status_code)] += 1
            if answer.status_code != 503:
                self.wrong.append(f"{answer.status_code} {answer.text[:200]}")
            return False
        told = answer.json()
        decision = told["extension"]["com.ruleward.decision"]
        if not decision["recorded"]:
            self._now["not recorded"] += 1
            if "could not be recorded" not in told["cards"][0]["summary"]:
                self.wrong.append("an answer that is not recorded does not say so")
            return False
        self._now["recorded"] += 1
        self.answered.add(decision["id"])
        return True

    async def run(self, what: str, seconds: float, strike: Strike) -> None:
        """Strike so long after each client's first answer; end when each is served again."""
        self._ending = False
        self._now = self.saw.setdefault(what, Counter())
        working = [asyncio.create_task(self.client(number)) for number in range(CLIENTS)]
        await self._all_served_since(time.monotonic())
        await asyncio.sleep(seconds)
        back = await asyncio.to_thread(strike)
        self.recovery.setdefault(what, []).append(await self._all_served_since(back) - back)
        self._ending = True
        await asyncio.gather(*working)

    async def _all_served_since(self, moment: float) -> float:
        """Wait until every client has sent an order after ``moment`` and got it recorded; returns when."""
        while min(self._sent_at) < moment:
            assert time.monotonic() - moment < PATIENCE, f"clients are not served again: {self._now}"
            await asyncio.sleep(0.005)
        return time.monotonic()

    def tell(self, rounds: int) -> None:
        """Print what was seen: for each kind of kill the answers, and milliseconds until all were served."""
        print(f"\n{rounds} kills (seed {SEED}), {len(self.answered)} answered as recorded")
        for what, seen in self.saw.items():
            took = sorted(round(one * 1000) for one in self.recovery[what])
            middle = round(statistics.median(took))
            print(
                f"  {what}: {len(took)} kills, recovered in median {middle} ms, slowest {took[-1]} ms;"
                f" clients saw {dict(seen.most_common())}"
            )


def lost(engine: sa.Engine, answered: set[str]) -> str:
    """Say which answered decisions have no row, and where rows and audit entries do not match one to one."""
    with engine.connect() as connection:
        rows = set(connection.execute(sa.text("SELECT id FROM decision")).scalars())
        audited = Counter(
            one.removeprefix("decision/")
            for one in connection.execute(
                sa.text("SELECT object FROM audit_entry WHERE kind = 'check'")
            ).scalars()
        )
    found = {
        "answered decisions are not in the log": answered - rows,
        "decisions have no audit entry": rows - audited.keys(),
        "audit entries have no decision": audited.keys() - rows,
        "decisions have two audit entries": {one for one, times in audited.items() if times > 1},
    }
    return "; ".join(f"{len(ids)} {what}" for what, ids in found.items() if ids)


def run_rounds(
    service: Service,
    load: Load,
    rounds: int,
    strikes: dict[str, Strike],
    order: Sequence[str],
    chance: random.Random,
) -> None:
    for number in range(rounds):
        what = order[number % len(order)]
        asyncio.run(load.run(what, chance.uniform(0.0, 0.4), strikes[what]))
        if number % 25 == 24:
            check(service, load.answered, number)
    check(service, load.answered, rounds)
    load.tell(rounds)
    assert not load.wrong
    assert service.audit_faults() == []


def check(service: Service, answered: set[str], number: int) -> None:
    engine = service.database()
    found = lost(engine, answered)
    engine.dispose()
    assert not found, f"{found} after round {number} (seed {SEED})"


def of_the_service(service: Service, chance: random.Random) -> dict[str, Strike]:
    """Return how a worker and the whole service are killed; the latter is started again at once."""

    def worker() -> float:
        os.kill(chance.choice(service.workers()), signal.SIGKILL)
        return time.monotonic()

    def supervisor() -> float:
        chance.choice((service.kill_supervisor, service.kill_all))()
        killed = time.monotonic()
        service.start()
        return killed

    return {"worker": worker, "service": supervisor}


@pytest.fixture(params=[pytest.param(8, id="8"), pytest.param(LONG, id="long", marks=pytest.mark.long)])
def rounds(request: pytest.FixtureRequest) -> int:
    """Give the number of kills."""
    number: int = request.param
    return number


def test_a_killed_service_with_an_embedded_database_has_lost_no_answered_decision(
    new_service: Callable[..., Service], free_port: int, rules_folder: Folder, order_sign: bytes, rounds: int
) -> None:
    service = new_service(free_port, RULEWARD_RULES=str(rules_folder.root))
    service.start()
    chance = random.Random(SEED)
    load = Load(service.base, order_sign)
    order = ["worker"] * 3 + ["service"] + ["worker"] * 3
    run_rounds(service, load, rounds, of_the_service(service, chance), order, chance)


@pytest.mark.postgresql
@pytest.mark.redis
def test_production_loses_no_answered_decision_when_it_or_its_servers_are_killed(
    new_service: Callable[..., Service],
    free_port: int,
    production: dict[str, str],
    rules_folder: Folder,
    order_sign: bytes,
    rounds: int,
    mortal_postgres: Any,
    redis_server: Any,
) -> None:
    """Kill worker, PostgreSQL, service and Redis in turn; a dead server is away for up to a second."""
    service = new_service(
        free_port,
        RULEWARD_RULES=str(rules_folder.root),
        RULEWARD_DATABASE_URL=mortal_postgres.new_database(),
        RULEWARD_REDIS_URL=redis_server.url,
        RULEWARD_RATE="100000/second",  # counted in Redis, so that each order asks it
        RULEWARD_PATIENCE="0.5",
        **production,
    )
    service.start()
    callers = service.callers()
    chance = random.Random(SEED)

    def postgres() -> float:
        mortal_postgres.end(signal.SIGKILL)
        time.sleep(chance.uniform(0.0, 1.0))
        mortal_postgres.start()
        return time.monotonic()

    def redis() -> float:
        redis_server.kill()
        killed = time.monotonic()
        time.sleep(chance.uniform(0.0, 1.0))
        redis_server.start()
        return killed

    own = of_the_service(service, chance)
    strikes = {"worker": own["worker"], "PostgreSQL": postgres, "service": own["service"], "Redis": redis}
    load = Load(service.base, order_sign, lambda: callers.token(Role.SERVICE))
    order = ["worker", "PostgreSQL", "Redis", "service", "worker", "PostgreSQL", "Redis", "worker",
             "PostgreSQL", "Redis"]  # fmt: skip
    run_rounds(service, load, rounds, strikes, order, chance)
    callers.close()
    assert "Traceback" not in service.log()
