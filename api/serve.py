"""Serve: one supervising process that publishes the rules folder, and workers that follow it."""

from __future__ import annotations

import logging
import os
from pathlib import Path

import uvicorn
from uvicorn.supervisors import Multiprocess

from api.guard import ensure_ours
from api.settings import read_settings
from api.wire import build_publisher

__all__ = ["serve"]

_GRACE_SECONDS = 20


def serve(host: str, port: int, workers: int, shipped_rules: Path) -> int:
    """Serve until told to stop. SIGTERM drains: no new connection, running requests end, the log is written.

    A worker that dies is replaced. Returns the exit code.
    """
    ensure_ours()
    settings = read_settings(os.environ, shipped_rules)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    published = build_publisher(settings)
    if published is not None:
        publisher, _ = published
        publisher.start()
    config = uvicorn.Config(
        "api.app:create_app",
        factory=True,
        host=host,
        port=port,
        workers=workers,
        log_level="info",
        access_log=False,  # a URL may carry an id; the decision log and the metrics say what happened
        timeout_graceful_shutdown=_GRACE_SECONDS,
        server_header=False,
    )
    Multiprocess(config, sockets=[config.bind_socket()]).run()
    return 0
