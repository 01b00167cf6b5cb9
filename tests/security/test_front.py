"""The shipped nginx front, tried with a real nginx: versions, names, limits, mutual TLS, addresses."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import socket
import ssl
import subprocess
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Protocol

import httpx
import pytest
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.types import Receive, Scope, Send

SHIPPED = Path(__file__).parents[2] / "deploy/nginx/ruleward.conf"
NAME = "ruleward.hospital.example"

Serve = Callable[..., AbstractContextManager[int]]


class Certificates(Protocol):
    authority: Path
    certificate: Path
    key: Path
    client: Path
    stranger: Path

    def context(self, *, client: Path | None = None, newest: ssl.TLSVersion = ...) -> ssl.SSLContext: ...


async def upstream(scope: Scope, receive: Receive, send: Send) -> None:
    """Answer with what arrived."""
    if scope["type"] != "http":
        return
    request = Request(scope, receive)
    body = await request.body()
    answer = JSONResponse({"headers": dict(request.headers), "bytes": len(body), "path": request.url.path})
    await answer(scope, receive, send)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port: int = probe.getsockname()[1]
        return port


class Front:
    """An nginx with the shipped configuration; only ports, files and a small rate are put in."""

    def __init__(self, folder: Path, certificates: Certificates, upstream_port: int, *, mutual: bool) -> None:
        self.port, self.plain = free_port(), free_port()
        text = SHIPPED.read_text()
        put_in = {
            "upstream": f"server 127.0.0.1:{upstream_port};",
            "listen": f"listen 127.0.0.1:{self.port} ssl",
            "plain": f"listen 127.0.0.1:{self.plain};",
            "certificate": f"ssl_certificate {certificates.certificate};",
            "key": f"ssl_certificate_key {certificates.key};",
            "access log": f"access_log {folder}/access.log ruleward_plain;",
            "monitoring": "allow 192.0.2.1;",
        }
        for marker, line in put_in.items():
            pattern = re.compile(rf"^(\s*)(\S.*?;)(\s*# ruleward: {marker})$", re.MULTILINE)
            assert pattern.search(text), f"{SHIPPED.name} has no line marked `# ruleward: {marker}`"

            def change(found: re.Match[str], line: str = line) -> str:
                special = " default_server;" if "default_server" in found[2] else ";"
                return found[1] + (line if line.endswith(";") else line + special)

            text = pattern.sub(change, text)
        if mutual:
            text = re.sub(r"# (ssl_client_certificate) .*?;", rf"\1 {certificates.authority};", text)
            text = re.sub(r"# (ssl_verify_client)\s+on;", r"\1 on;", text)
        (folder / "ruleward.conf").write_text(text)
        temporary = "".join(
            f"{kind}_temp_path {folder}/{kind};"
            for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
        )
        user = "user root;" if os.geteuid() == 0 else ""  # the test's folder is closed to others
        (folder / "nginx.conf").write_text(
            f"{user} daemon off; pid {folder}/pid; error_log {folder}/error.log notice; worker_processes 1;"
            f"events {{}} http {{ {temporary} include {folder}/ruleward.conf; }}"
        )
        self.folder = folder
        program = shutil.which("nginx", path="/usr/sbin:/usr/local/sbin:/usr/bin")
        if program is None:
            pytest.fail("no nginx: `apt-get install nginx-light` (Debian)", pytrace=False)
        self.process = subprocess.Popen(
            [program, "-p", str(folder), "-e", f"{folder}/error.log", "-c", f"{folder}/nginx.conf"],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        for _ in range(500):
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 1):
                return
            time.sleep(0.02)
        pytest.fail(f"nginx does not start: {(folder / 'error.log').read_text()[-2000:]}", pytrace=False)

    def client(self, context: ssl.SSLContext) -> httpx.Client:
        return httpx.Client(
            verify=context, base_url=f"https://127.0.0.1:{self.port}", headers={"Host": NAME}, trust_env=False
        )

    def get(self, client: httpx.Client, path: str = "/", **options: object) -> httpx.Response:
        return client.get(path, extensions={"sni_hostname": NAME}, **options)  # type: ignore[arg-type]

    def end(self) -> None:
        self.process.terminate()
        self.process.wait(20)


@contextlib.contextmanager
def fronting(
    folder: Path, serving: Serve, certificates: Certificates, *, mutual: bool = False
) -> Iterator[Front]:
    with serving(upstream) as port:
        front = Front(folder, certificates, port, mutual=mutual)
        try:
            yield front
        finally:
            front.end()


@pytest.fixture(scope="module")
def front(
    tmp_path_factory: pytest.TempPathFactory, serving: Serve, certificates: Certificates
) -> Iterator[Front]:
    """Give an nginx in front of a service that says what arrived."""
    with fronting(tmp_path_factory.mktemp("front"), serving, certificates) as one:
        yield one


def test_tls_1_3_is_spoken_and_nothing_older(front: Front, certificates: Certificates) -> None:
    for newest, well in ((ssl.TLSVersion.TLSv1_3, True), (ssl.TLSVersion.TLSv1_2, False)):
        context = certificates.context(newest=newest)
        with socket.create_connection(("127.0.0.1", front.port), 5) as plain:
            if well:
                with context.wrap_socket(plain, server_hostname=NAME) as secure:
                    assert secure.version() == "TLSv1.3"
            else:
                with pytest.raises(ssl.SSLError):
                    context.wrap_socket(plain, server_hostname=NAME)


def test_hsts_is_said_once_and_no_version_is_told(front: Front, certificates: Certificates) -> None:
    with front.client(certificates.context()) as client:
        answer = front.get(client)
        assert answer.headers.get_list("strict-transport-security") == ["max-age=31536000; includeSubDomains"]
        assert answer.headers["server"] == "nginx"


def test_plain_http_is_sent_to_tls(front: Front) -> None:
    answer = httpx.get(f"http://127.0.0.1:{front.plain}/ready", headers={"Host": NAME}, trust_env=False)
    assert (answer.status_code, answer.headers["location"]) == (308, f"https://{NAME}/ready")


def test_a_name_that_is_not_ours_gets_no_handshake(front: Front, certificates: Certificates) -> None:
    with (
        socket.create_connection(("127.0.0.1", front.port), 5) as plain,
        pytest.raises(ssl.SSLError, match="UNRECOGNIZED_NAME"),
    ):
        certificates.context().wrap_socket(plain, server_hostname="evil.example")


def test_a_client_cannot_write_whose_address_it_has(front: Front, certificates: Certificates) -> None:
    forged = {"X-Forwarded-For": "6.6.6.6", "X-Forwarded-Proto": "http"}
    with front.client(certificates.context()) as client:
        arrived = front.get(client, headers=forged).json()["headers"]
    assert arrived["x-forwarded-for"] == "127.0.0.1"
    assert arrived["x-forwarded-proto"] == "https"
    assert arrived["host"] == NAME


def test_bodies_and_headers_have_a_limit(front: Front, certificates: Certificates) -> None:
    with front.client(certificates.context()) as client:
        fits = client.post("/", content=b"x" * 15 * 1024 * 1024, extensions={"sni_hostname": NAME})
        assert fits.json()["bytes"] == 15 * 1024 * 1024
    with (
        socket.create_connection(("127.0.0.1", front.port), 5) as plain,
        certificates.context().wrap_socket(plain, server_hostname=NAME) as secure,
    ):  # refused by what it says, before any of it is sent
        secure.sendall(f"POST / HTTP/1.1\r\nHost: {NAME}\r\nContent-Length: {17 * 2**20}\r\n\r\n".encode())
        assert secure.recv(100).startswith(b"HTTP/1.1 413 ")
    with front.client(certificates.context()) as client:
        assert front.get(client, headers={"X-Long": "x" * 20_000}).status_code == 400


def test_too_many_requests_are_429(front: Front, certificates: Certificates) -> None:
    def many(_: int) -> list[int]:
        with front.client(certificates.context()) as client:
            return [front.get(client).status_code for _ in range(250)]

    with ThreadPoolExecutor(8) as pool:
        statuses = [status for some in pool.map(many, range(8)) for status in some]
    assert set(statuses) <= {200, 429}
    assert 429 in statuses
    time.sleep(1)  # the bucket runs out of what waits, so that the next test finds room


def test_metrics_are_for_the_monitoring_alone(front: Front, certificates: Certificates) -> None:
    with front.client(certificates.context()) as client:
        assert front.get(client, "/metrics").status_code == 403
        assert front.get(client, "/releases/status").status_code == 403


def test_neither_url_nor_query_are_logged(front: Front, certificates: Certificates) -> None:
    with front.client(certificates.context()) as client:
        front.get(client, "/decisions/canary-4711?name=canary-4711")
    time.sleep(0.1)
    written = (front.folder / "access.log").read_text() + (front.folder / "error.log").read_text()
    assert "GET 200" in written
    assert "canary-4711" not in written


def test_with_mutual_tls_only_clients_of_the_site_are_answered(
    tmp_path: Path, serving: Serve, certificates: Certificates
) -> None:
    with fronting(tmp_path, serving, certificates, mutual=True) as front:
        with front.client(certificates.context(client=certificates.client)) as client:
            assert front.get(client).status_code == 200
        for other in (None, certificates.stranger):
            with front.client(certificates.context(client=other)) as client:
                assert front.get(client).status_code == 400  # nginx: no required certificate was sent
