"""SIGTERM to the real service: what runs is finished and written down, what comes later is refused."""

from __future__ import annotations

import json
import os
import signal
import socket
import sqlite3
import ssl
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Protocol

import httpx
import pytest

BODY = json.dumps({"stage": "order_sign", "facts": {"patient": {"sex": "male"}}}).encode()


class Folder(Protocol):
    root: Path


class Certificates(Protocol):
    authority: Path
    certificate: Path
    key: Path
    client: Path

    def context(self, *, client: Path | None = None, newest: ssl.TLSVersion = ...) -> ssl.SSLContext: ...


class Running:
    """``ruleward serve`` as a process of its own."""

    def __init__(self, place: Path, rules: Path, port: int, *options: str) -> None:
        self.port, self.data, self.log = port, place / "data", place / "log"
        clean = {name: value for name, value in os.environ.items() if not name.startswith("RULEWARD_")}
        settings = {"RULEWARD_DATA": str(self.data), "RULEWARD_RULES": str(rules), "RULEWARD_MODE": "demo"}
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "api.cli", "serve", "--port", str(port), "--workers", "2", *options],
                env={**clean, **settings}, stdout=log, stderr=log,
            )  # fmt: skip

    def wait_until_ready(self, client: httpx.Client) -> None:
        give_up = time.monotonic() + 60
        while time.monotonic() < give_up and self.process.poll() is None:
            try:
                if client.get("/ready").status_code == 200:
                    return
            except httpx.TransportError:
                pass
            time.sleep(0.05)
        pytest.fail(f"the service does not start:\n{self.log.read_text()[-3000:]}", pytrace=False)

    def end(self) -> None:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(40)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()


Start = Callable[..., Running]


@pytest.fixture
def start(tmp_path: Path, rules_folder: Folder, free_port: int) -> Iterator[Start]:
    """Give what starts the service once; it ends with the test."""
    made: list[Running] = []

    def run(*options: str) -> Running:
        made.append(Running(tmp_path, rules_folder.root, free_port, *options))
        return made[-1]

    yield run
    for one in made:
        one.end()


def refused(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), 2).close()
    except ConnectionRefusedError:
        return True
    return False


def test_a_drain_finishes_what_runs_writes_it_down_and_takes_nothing_new(start: Start) -> None:
    running = start()
    with httpx.Client(base_url=f"http://127.0.0.1:{running.port}", trust_env=False) as client:
        running.wait_until_ready(client)
    begun = []
    for number in range(8):  # of both workers, most likely
        connection = socket.create_connection(("127.0.0.1", running.port), 30)
        head = (
            f"POST /decisions HTTP/1.1\r\nHost: localhost\r\nIdempotency-Key: drain-{number}\r\n"
            f"Content-Length: {len(BODY)}\r\nExpect: 100-continue\r\n\r\n"
        )
        connection.sendall(head.encode())
        assert b" 100 " in connection.recv(4096)  # it is being answered, not only waiting to be taken
        connection.sendall(BODY[:10])
        begun.append(connection)
    running.process.send_signal(signal.SIGTERM)
    give_up = time.monotonic() + 10
    while not refused(running.port) and time.monotonic() < give_up:
        time.sleep(0.02)
    assert refused(running.port), "a draining service still takes connections"
    assert running.process.poll() is None, "it did not wait for what runs"
    ids = []
    for connection in begun:
        connection.sendall(BODY[10:])
        answer = b""
        while more := connection.recv(65536):
            answer += more
        head_of, _, body = answer.partition(b"\r\n\r\n")
        assert head_of.startswith(b"HTTP/1.1 200 "), answer
        assert json.loads(body)["recorded"] is True
        ids.append(json.loads(body)["id"])
        connection.close()
    assert running.process.wait(30) == 0
    with sqlite3.connect(running.data / "ruleward.db") as database:
        kept = {row[0] for row in database.execute("SELECT id FROM decision")}
    assert len(set(ids)) == 8
    assert set(ids) <= kept


def test_serve_speaks_tls_1_3_to_clients_of_the_site_alone(start: Start, certificates: Certificates) -> None:
    running = start(
        "--certificate", str(certificates.certificate), "--key", str(certificates.key),
        "--client-ca", str(certificates.authority),
    )  # fmt: skip
    base = f"https://localhost:{running.port}"
    ours = certificates.context(client=certificates.client)
    with httpx.Client(base_url=base, verify=ours, trust_env=False) as client:
        running.wait_until_ready(client)
        answer = client.get("/cds-services")
        assert answer.status_code == 200
        assert answer.headers["strict-transport-security"]
    older = certificates.context(client=certificates.client, newest=ssl.TLSVersion.TLSv1_2)
    for context in (older, certificates.context()):
        with (
            httpx.Client(base_url=base, verify=context, trust_env=False) as client,
            pytest.raises(httpx.TransportError),
        ):
            client.get("/cds-services")


def test_serve_refuses_a_key_of_another_certificate_before_it_listens(
    start: Start, certificates: Certificates
) -> None:
    running = start("--certificate", str(certificates.certificate), "--key", str(certificates.client))
    assert running.process.wait(60) == 1
    assert "cannot be used together" in running.log.read_text()
