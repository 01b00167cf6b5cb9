"""Serve RuleWard with one more route: ``/echo`` decodes the JSON of a body and encodes it again.

Started by the service benchmarks as ``python -m benchmarks._service_app PORT WORKERS``. Where
``BENCH_BARE`` is set, decisions are neither encrypted nor chained in the audit log: for comparison only, and
nothing that the service itself could be told to do.
"""

from __future__ import annotations

import os
import sys

import msgspec
from fastapi import Request, Response
from starlette.types import ASGIApp

from adapters.gm_crypto.sm3 import sm3
from adapters.store.decisions import StoredDecisions, writing_connection
from api.app import build_app
from api.deciding import DecisionService
from api.edges import build_edges
from api.serve import serve
from api.settings import Settings, read_settings
from api.wire import Worker
from rules import FOLDER

__all__ = ["create_app"]


class _BareWorker(Worker):
    """A worker whose decision log is neither sealed nor chained."""

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        self.log = StoredDecisions(
            self.engine, connect=writing_connection(self.engine), patience=settings.patience
        )
        self.service = DecisionService(
            self.follower, self.log, sm3, self.clock, self.metrics, settings.identity.site
        )


def create_app() -> ASGIApp:
    """Return the service with its echo route, which is tried before all others."""
    settings = read_settings(os.environ, FOLDER)
    app = build_app(settings, _BareWorker(settings) if os.environ.get("BENCH_BARE") else None)

    @app.post("/echo")
    async def echo(request: Request) -> Response:
        value = msgspec.json.decode(await request.body())
        return Response(msgspec.json.encode(value), media_type="application/json")

    app.router.routes.insert(0, app.router.routes.pop())
    return build_edges(app, settings.edges)


if __name__ == "__main__":
    sys.exit(
        serve(
            "127.0.0.1", int(sys.argv[1]), int(sys.argv[2]), FOLDER,
            application="benchmarks._service_app:create_app",
        )
    )  # fmt: skip
