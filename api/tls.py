"""Serve TLS by uvicorn itself, for a small site without a front: TLS 1.3 and nothing older."""

from __future__ import annotations

import ssl
from collections.abc import Callable
from pathlib import Path
from typing import TypedDict

import uvicorn

__all__ = ["TlsOptions", "tls_options"]


class TlsOptions(TypedDict, total=False):
    """What uvicorn's configuration is given besides."""

    ssl_certfile: str
    ssl_keyfile: str
    ssl_ca_certs: str
    ssl_cert_reqs: int
    ssl_context_factory: Callable[[uvicorn.Config, Callable[[], ssl.SSLContext]], ssl.SSLContext]


def newest_only(_config: uvicorn.Config, default: Callable[[], ssl.SSLContext]) -> ssl.SSLContext:
    """Return uvicorn's context without any version below TLS 1.3. Workers unpickle this function by name."""
    context = default()
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    return context


def tls_options(certificate: Path | None, key: Path | None, client_authority: Path | None) -> TlsOptions:
    """Return uvicorn's options; empty without a certificate.

    With ``client_authority`` every client, probes too, must show a certificate signed by it. Raises
    ``ValueError`` where files are missing or do not belong together, before any worker starts.
    """
    if certificate is None and key is None and client_authority is None:
        return {}
    if certificate is None or key is None:
        raise ValueError("TLS needs both --certificate and --key.")
    for path in filter(None, (certificate, key, client_authority)):
        if not path.is_file():
            raise ValueError(f"{path} is no file.")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    try:
        context.load_cert_chain(certificate, key)
        if client_authority is not None:
            context.load_verify_locations(client_authority)
    except (ssl.SSLError, OSError) as error:
        reason = error.reason if isinstance(error, ssl.SSLError) else error.strerror
        raise ValueError(
            f"Certificate, key and client authority cannot be used together ({reason}): all are PEM, and the "
            "key is that of the certificate."
        ) from None
    options: TlsOptions = {
        "ssl_certfile": str(certificate),
        "ssl_keyfile": str(key),
        "ssl_context_factory": newest_only,
    }
    if client_authority is not None:
        options["ssl_ca_certs"] = str(client_authority)
        options["ssl_cert_reqs"] = ssl.CERT_REQUIRED
    return options
