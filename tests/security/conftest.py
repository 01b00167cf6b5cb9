"""Share a service behind its edge, certificates and small servers among the tests of attacks."""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import trustme
import uvicorn
from starlette.types import ASGIApp

from api.connection import BoundedProtocol
from api.tls import TlsOptions

Serve = Callable[..., contextlib.AbstractContextManager[int]]


class Certificates:
    """A site's authority with a server's and a client's certificate, and a stranger's, as files."""

    def __init__(self, folder: Path) -> None:
        ours, theirs = trustme.CA(), trustme.CA()
        self.authority = self._write(folder / "authority.pem", ours.cert_pem)
        server = ours.issue_cert("ruleward.hospital.example", "localhost", "127.0.0.1")
        self.certificate = self._write(folder / "certificate.pem", *server.cert_chain_pems)
        self.key = self._write(folder / "key.pem", server.private_key_pem)
        self.client = self._write_pair(folder / "client.pem", ours)
        self.stranger = self._write_pair(folder / "stranger.pem", theirs)

    @staticmethod
    def _write(path: Path, *blobs: trustme.Blob) -> Path:
        path.write_bytes(b"".join(blob.bytes() for blob in blobs))
        return path

    def _write_pair(self, path: Path, authority: trustme.CA) -> Path:
        issued = authority.issue_cert("client.hospital.example")
        return self._write(path, issued.private_key_pem, *issued.cert_chain_pems)

    def context(
        self, *, client: Path | None = None, newest: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3
    ) -> ssl.SSLContext:
        """Return what a client of the site uses."""
        context = ssl.create_default_context(cafile=self.authority)
        context.maximum_version = newest
        if client is not None:
            context.load_cert_chain(client)
        return context


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    """Give certificates, as a site has them."""
    return Certificates(tmp_path_factory.mktemp("certificates"))


@contextlib.contextmanager
def _serving(
    app: ASGIApp, tls: TlsOptions | None = None, protocol: type[BoundedProtocol] = BoundedProtocol
) -> Iterator[int]:
    options: TlsOptions = tls or {}
    config = uvicorn.Config(
        app, http=protocol, log_config=None, server_header=False, lifespan="auto", **options
    )
    server = uvicorn.Server(config)
    listening = socket.create_server(("127.0.0.1", 0))
    port: int = listening.getsockname()[1]
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
    thread.start()
    give_up = time.monotonic() + 20
    while not server.started and thread.is_alive() and time.monotonic() < give_up:
        time.sleep(0.01)
    try:
        yield port
    finally:
        server.should_exit = True
        thread.join(20)
        listening.close()


@pytest.fixture(scope="session")
def serving() -> Serve:
    """Give what serves an application on a free port by uvicorn, as ``ruleward serve`` does."""
    return _serving
