"""TLS 1.3 by uvicorn itself: real handshakes, older versions refused, clients' certificates asked for."""

from __future__ import annotations

import contextlib
import pickle
import socket
import ssl
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Protocol

import pytest
from starlette.responses import PlainTextResponse

from api.tls import tls_options

Serve = Callable[..., AbstractContextManager[int]]
APP = PlainTextResponse("well")


class Certificates(Protocol):
    authority: Path
    certificate: Path
    key: Path
    client: Path
    stranger: Path

    def context(self, *, client: Path | None = None, newest: ssl.TLSVersion = ...) -> ssl.SSLContext: ...


def ask(port: int, context: ssl.SSLContext) -> tuple[str | None, bytes]:
    """Return the version that was agreed on, and the answer."""
    with (
        socket.create_connection(("127.0.0.1", port), 5) as plain,
        context.wrap_socket(plain, server_hostname="localhost") as secure,
    ):
        secure.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        answer = b""
        while more := secure.recv(4096):
            answer += more
        return secure.version(), answer


def test_tls_1_3_is_spoken_and_nothing_older(serving: Serve, certificates: Certificates) -> None:
    with serving(APP, tls_options(certificates.certificate, certificates.key, None)) as port:
        version, answer = ask(port, certificates.context())
        assert version == "TLSv1.3"
        assert answer.endswith(b"well")
        with pytest.raises((ssl.SSLError, ConnectionError)):
            ask(port, certificates.context(newest=ssl.TLSVersion.TLSv1_2))
        with socket.create_connection(("127.0.0.1", port), 5) as plain:
            plain.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
            assert b"well" not in plain.recv(4096)


def test_only_clients_with_a_certificate_of_the_site_are_answered(
    serving: Serve, certificates: Certificates
) -> None:
    options = tls_options(certificates.certificate, certificates.key, certificates.authority)
    with serving(APP, options) as port:
        assert ask(port, certificates.context(client=certificates.client))[1].endswith(b"well")
        for stranger in (None, certificates.stranger):
            # In TLS 1.3 a client has shaken hands before it hears that it is refused: it gets no answer.
            with contextlib.suppress(ssl.SSLError, ConnectionError):
                assert ask(port, certificates.context(client=stranger))[1] == b""


def test_the_options_reach_workers_that_are_started_afresh(certificates: Certificates) -> None:
    options = tls_options(certificates.certificate, certificates.key, certificates.authority)
    assert pickle.loads(pickle.dumps(options)) == options


def test_without_a_certificate_there_is_no_tls() -> None:
    assert tls_options(None, None, None) == {}


def test_what_does_not_belong_together_is_refused_before_anything_starts(
    certificates: Certificates, tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match="both --certificate and --key"):
        tls_options(certificates.certificate, None, None)
    with pytest.raises(ValueError, match="both --certificate and --key"):
        tls_options(None, None, certificates.authority)
    with pytest.raises(ValueError, match="is no file"):
        tls_options(certificates.certificate, tmp_path / "none.pem", None)
    with pytest.raises(ValueError, match="cannot be used together"):
        tls_options(certificates.certificate, certificates.client, None)
