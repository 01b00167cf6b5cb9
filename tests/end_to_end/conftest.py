"""Start the whole service as a site does: a supervisor, its workers, a database, a rules folder."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Protocol

import httpx
import pytest
import sqlalchemy as sa

from adapters.gm_crypto.envelope import EnvelopeSeal
from adapters.gm_crypto.settings import open_keys
from adapters.gm_crypto.sm3 import sm3
from adapters.store.accounts import StoredIdentity
from adapters.store.audit_reading import altered_decisions, reading
from adapters.store.database import open_database
from api.accounts import NewAccount, account_of
from api.audit_keeper import verify_all
from api.auditing import KeySigner
from api.settings import Settings, read_settings
from api.wire import build_worker
from engine.access import SCOPES, Role
from engine.identity import Client

_START_SECONDS = 60.0
_PRODUCTION = {
    "RULEWARD_MODE": "production",
    "RULEWARD_BASE_URL": "https://ruleward.example",
    "RULEWARD_KEY_PASSPHRASE": "of these tests alone",
}
PLACE = "00000000-0000-4000-8000-000000000000"


class Folder(Protocol):
    root: Path


class Service:
    """One running service; ``data`` survives a restart."""

    def __init__(self, port: int, data: Path, environment: dict[str, str], workers: int = 2) -> None:
        self.port, self.data, self.base = port, data, f"http://127.0.0.1:{port}"
        self._environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("RULEWARD_")},
            "RULEWARD_DATA": str(data),
            **environment,
        }
        self._environment.setdefault("RULEWARD_BASE_URL", f"http://localhost:{port}")
        self._workers = workers
        self.log_file = data.with_suffix(".log")
        self.process: subprocess.Popen[bytes] | None = None

    def start(self, *, until: int = 200) -> None:
        """Start and wait until ``/ready`` answers with this status."""
        command = [sys.executable, "-m", "api.cli", "serve", "--port", str(self.port)]
        with self.log_file.open("ab") as log:
            self.process = subprocess.Popen(
                [*command, "--workers", str(self._workers)], env=self._environment, stdout=log, stderr=log
            )
        give_up = time.monotonic() + _START_SECONDS
        while self.ready()[0] != until:
            if self.process.poll() is not None or time.monotonic() > give_up:
                pytest.fail(f"the service does not start:\n{self.log()[-3000:]}", pytrace=False)
            time.sleep(0.02)

    def ready(self) -> tuple[int, dict[str, Any]]:
        """Return status and body of ``/ready``; 0 while nobody listens."""
        try:
            answer = httpx.get(f"{self.base}/ready", timeout=5, trust_env=False, verify=False)
        except httpx.HTTPError:
            return 0, {}
        return answer.status_code, answer.json()

    def status(self) -> dict[str, Any]:
        """Return ``/releases/status``."""
        answer = httpx.get(f"{self.base}/releases/status", timeout=10, trust_env=False, verify=False)
        body: dict[str, Any] = answer.raise_for_status().json()
        return body

    def workers(self) -> list[int]:
        """Return the ids of the worker processes that live."""
        assert self.process is not None
        # The fork server is a child, the workers are its children.
        below = {one for child in _children(self.process.pid) for one in (child, *_children(child))}
        return sorted(one for one in below if _is_worker(one))

    def kill(self) -> None:
        """SIGKILL the supervisor; its workers notice and end."""
        assert self.process is not None
        self.process.kill()
        self.process.wait()

    def kill_all(self) -> None:
        """SIGKILL supervisor and workers at one moment, as when the machine dies."""
        assert self.process is not None
        everyone = [self.process.pid, *self.workers()]
        for one in everyone:
            try:
                os.kill(one, signal.SIGKILL)
            except ProcessLookupError:
                continue
        self.process.wait()

    def kill_supervisor(self) -> None:
        """SIGKILL the supervisor and wait for its workers' end, as whoever restarts it does."""
        workers = self.workers()
        self.kill()
        give_up = time.monotonic() + _START_SECONDS
        while any(Path(f"/proc/{one}").exists() for one in workers):
            assert time.monotonic() < give_up, "workers outlive their supervisor"
            time.sleep(0.01)

    def audit_faults(self) -> list[str]:
        """Return what is wrong with the chain of its audit log, and with decisions against their entries."""
        settings = self._settings()
        provider, keys = open_keys(settings.crypto)
        seal, engine = EnvelopeSeal(provider, keys), self.database()
        found = list(verify_all(engine, KeySigner(provider, keys), seal, sm3, ()).faults)
        with reading(engine) as connection:
            found += altered_decisions(connection, sm3, seal, None)
        engine.dispose()
        return [fault.what for fault in found]

    def database(self) -> sa.Engine:
        """Return an engine of its database, for the test to look into."""
        return open_database(self._settings().database_url, patience=10.0)

    def callers(self) -> Callers:
        """Return who makes tokens for this service, with an account of each role."""
        return Callers(self._settings())

    def _settings(self) -> Settings:
        return read_settings(self._environment, self.data)

    def stop(self) -> int:
        """SIGTERM; returns the exit code once all has ended."""
        assert self.process is not None
        self.process.terminate()
        return self.process.wait(40)

    def log(self) -> str:
        """Return what it has logged."""
        return self.log_file.read_text(encoding="utf-8", errors="replace")

    def end(self) -> None:
        """End it, however it stands."""
        if self.process is not None and self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(30)
            except subprocess.TimeoutExpired:
                self.kill_all()


class Callers:
    """An account of every role and a service account in a running service's database, and their tokens."""

    def __init__(self, settings: Settings) -> None:
        self._worker = build_worker(settings)  # one that does not run: its keys are the service's
        self._identity, clock = self._worker.identity, self._worker.clock
        self.accounts: dict[Role, str] = {}
        self.clients = ("his",)
        store: StoredIdentity = self._identity.store
        store.put_client(Client(id="his", title="HIS", kind="service", scopes=tuple(sorted(SCOPES))))
        for role in set(Role) - {Role.SERVICE}:
            wanted = NewAccount(
                name=f"one-{role}",
                title="王医生",
                staff_number=f"one-{role}",
                roles=(role,),
                departments=("icu",),
            )
            account, _ = account_of(wanted, self._identity.passwords, clock())
            store.add(account)
            self.accounts[role] = account.id

    def token(self, role: Role) -> str:
        """Return an access token for five minutes, as the embedded provider signs them."""
        base, now = self._identity.settings.base_url, int(self._worker.clock().timestamp())
        told: dict[str, object] = {
            "iss": base, "aud": base, "sub": self.accounts.get(role, self.clients[0]), "iat": now,
            "exp": now + 300, "jti": uuid.uuid4().hex, "roles": [str(role)], "amr": ["pwd", "otp"],
            "departments": ["icu"], "scope": " ".join(sorted(SCOPES)) if role is Role.SERVICE else "",
        }  # fmt: skip
        return self._identity.keys.sign(told, "at+jwt")

    def close(self) -> None:
        """Let go of the database."""
        self._worker.engine.dispose()


def _children(parent: int) -> list[int]:
    try:
        return [int(one) for one in Path(f"/proc/{parent}/task/{parent}/children").read_text().split()]
    except OSError:
        return []


def _is_worker(process: int) -> bool:
    try:
        # A forked worker has the fork server's command line, and that server's child is nothing else.
        parent = int(Path(f"/proc/{process}/stat").read_text().rsplit(")", 1)[1].split()[1])
        return b"forkserver" in Path(f"/proc/{parent}/cmdline").read_bytes()
    except OSError:
        return False


@pytest.fixture
def new_service(tmp_path: Path) -> Iterator[Callable[..., Service]]:
    """Return what makes services (not yet started), all ended with the test."""
    made: list[Service] = []

    def make(port: int, *, data: str = "data", workers: int = 2, **environment: str) -> Service:
        made.append(Service(port, tmp_path / data, environment, workers))
        return made[-1]

    yield make
    for one in made:
        one.end()


@pytest.fixture(scope="session")
def production() -> dict[str, str]:
    """Return the settings without which production does not start."""
    return dict(_PRODUCTION)


@pytest.fixture(scope="session")
def shared_service(
    tmp_path_factory: pytest.TempPathFactory, new_rules_folder: Callable[[Path], Folder], shared_port: int
) -> Iterator[tuple[Service, Folder]]:
    """Give a service that runs for all tests that leave it whole, and its rules folder."""
    place = tmp_path_factory.mktemp("service")
    folder = new_rules_folder(place / "rules")
    service = Service(shared_port, place / "data", {"RULEWARD_RULES": str(folder.root)})
    service.start()
    yield service, folder
    service.end()


@pytest.fixture(scope="session")
def order_sign() -> bytes:
    """Return an order-sign request; :data:`PLACE` stands where its ``hookInstance`` belongs."""
    orders = [
        {
            "resourceType": "MedicationRequest",
            "id": f"m{number}",
            "status": "draft",
            "intent": "order",
            "medicationCodeableConcept": {"text": name},
            "subject": {"reference": "Patient/P1"},
            "authoredOn": "2026-03-01T09:30:00+08:00",
        }
        for number, name in enumerate(("alpha", "beta", "gamma"))
    ]
    empty = {"resourceType": "Bundle", "type": "searchset", "entry": []}
    body = {
        "hook": "order-sign",
        "hookInstance": PLACE,
        "context": {
            "userId": "Practitioner/1",
            "patientId": "P1",
            "draftOrders": {
                "resourceType": "Bundle",
                "type": "collection",
                "entry": [{"resource": one} for one in orders],
            },
        },
        "prefetch": {
            "patient": {"resourceType": "Patient", "id": "P1", "gender": "male", "birthDate": "1980-05-01"},
            "meds": empty,
            "encounter": None,
            "allergies": empty,
            "conditions": empty,
            "medStatements": None,
            "labs": empty,
            "vitals": empty,
            "coverage": None,
            "imaging": None,
        },
    }
    return json.dumps(body).encode()
