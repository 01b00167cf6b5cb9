"""Serve: one supervising process that publishes the rules folder, and workers that follow it."""

from __future__ import annotations

import logging
import logging.config
import os
import threading
import time
from pathlib import Path

import sqlalchemy as sa
import uvicorn

from adapters.gm_crypto.settings import open_keys
from adapters.store.database import StoreError, open_database, upgrade
from api.connection import BoundedProtocol
from api.guard import ensure_ours
from api.identity import prepare
from api.logging import configuration
from api.settings import Settings, read_settings
from api.supervise import Supervisor, listen
from api.tls import TlsOptions
from api.wire import build_publisher, clock_in

__all__ = ["serve"]

_LOG = logging.getLogger("ruleward.supervisor")
_GRACE_SECONDS = 20
_AGAIN_SECONDS = 2.0


def serve(
    host: str,
    port: int,
    workers: int,
    shipped_rules: Path,
    *,
    application: str = "api.app:create_app",
    tls: TlsOptions | None = None,
) -> int:
    """Serve until told to stop. SIGTERM drains: no new connection, running requests end, the log is written.

    A worker that dies is replaced. ``tls`` speaks TLS here, without a front. Returns the exit code.
    """
    ensure_ours()
    if (os.environ.get("RULEWARD_MODE") or "demo") == "demo":
        os.environ.setdefault(
            "RULEWARD_BASE_URL", f"{'https' if tls else 'http'}://localhost:{port}"
        )  # workers read it as well
    settings = read_settings(os.environ, shipped_rules)
    open_keys(settings.crypto)  # a wrong passphrase must end it here, not each worker again and again
    logs = configuration(os.environ.get("RULEWARD_LOG") or "text")
    logging.config.dictConfig(logs)
    config = uvicorn.Config(
        application,
        factory=True,
        log_config=logs,
        access_log=False,  # a URL may carry an id; the decision log and the metrics say what happened
        timeout_graceful_shutdown=_GRACE_SECONDS,
        server_header=False,
        http=BoundedProtocol,
        **(tls or TlsOptions()),
    )
    sockets = listen(host, port, workers)  # before anything else: a port that is taken ends it here
    publisher = build_publisher(settings)
    supervisor = Supervisor(config, sockets, _GRACE_SECONDS + 5)
    publisher.start()
    threading.Thread(target=_prepare_identity, args=(settings,), name="identity", daemon=True).start()
    _LOG.info("listening on %s port %d", host, sockets[0].getsockname()[1])
    try:
        supervisor.run()
    finally:
        publisher.stop()
    return 0


def _prepare_identity(settings: Settings) -> None:
    """Make what identity needs as soon as the database has its tables; tell demo accounts on the terminal."""
    engine = open_database(settings.database_url, patience=settings.patience)
    lines: tuple[str, ...] | None = None
    while lines is None:
        try:
            upgrade(engine)
            lines = prepare(settings.identity, engine, clock_in(settings.zone), settings.data)
        except (sa.exc.SQLAlchemyError, StoreError, OSError) as error:
            _LOG.warning("accounts cannot be prepared yet: %s", type(error).__name__)
            time.sleep(_AGAIN_SECONDS)
    engine.dispose()
    # To the terminal and not to the log, which is kept: these lines hold passwords.
    print("\n".join(lines), flush=True)
