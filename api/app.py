"""The HTTP service of one worker."""

from __future__ import annotations

import asyncio
import multiprocessing
import multiprocessing.connection
import os
import signal
import sys
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI
from starlette.middleware.cors import CORSMiddleware
from starlette.types import ASGIApp

from adapters.emr.client import FhirReader
from api import audit, cds_hooks, decisions, health, nhsa
from api.access import requires
from api.edges import build_edges
from api.guard import ensure_ours
from api.logging import Traced
from api.settings import Settings, read_settings
from api.wire import Worker, build_worker
from engine.access import Resource, Verb

__all__ = ["build_app", "create_app"]

_SWITCH_SECONDS = 0.001


def create_app() -> ASGIApp:
    """Build the service from the environment, behind its edge; uvicorn calls this in each worker."""
    from rules import FOLDER

    ensure_ours()
    _end_with_the_supervisor()
    settings = read_settings(os.environ, FOLDER)
    return Traced(build_edges(build_app(settings), settings.edges))


def _end_with_the_supervisor() -> None:
    """Drain and end when the supervisor is gone: killed, it could not say so, and its port must get free."""
    supervisor = multiprocessing.parent_process()
    if supervisor is not None:

        def watch() -> None:
            multiprocessing.connection.wait([supervisor.sentinel])
            os.kill(os.getpid(), signal.SIGTERM)

        threading.Thread(target=watch, name="supervisor-watch", daemon=True).start()


def build_app(settings: Settings, worker: Worker | None = None) -> FastAPI:
    """Build the service from settings, around a worker made elsewhere if one is given."""
    worker = worker or build_worker(settings)

    reader = FhirReader.over_http(settings.record, worker.outside)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        # A release is compiled in a thread beside the requests: let these take the interpreter back sooner.
        sys.setswitchinterval(_SWITCH_SECONDS)
        # The socket is open already: who calls meanwhile waits instead of being answered without rules.
        await asyncio.to_thread(worker.follower.start, settings.first_release_seconds)
        worker.watch.attach(asyncio.get_running_loop())
        housekeeping = asyncio.create_task(worker.identity.keep_house())
        yield
        housekeeping.cancel()
        await worker.close()
        await reader.aclose()

    app = FastAPI(
        title="RuleWard",
        version="0.1.0",
        summary="Checks clinical and billing actions against rulesets that experts change while it runs.",
        lifespan=lifespan,
        redoc_url=None,
        # What the service can do is told to those who know the way in.
        docs_url=None,  # FastAPI's page loads its script from the internet, which a hospital does not reach
        openapi_url=None if settings.identity.production else "/openapi.json",
    )
    app.state.worker = worker
    app.include_router(
        cds_hooks.router(worker.service, settings.record, reader, worker.clock),
        dependencies=[requires(Verb.CHECK, Resource.ORDER, demo=True)],
    )
    app.include_router(
        nhsa.router(worker.service, settings.insurance, worker.clock),
        dependencies=[requires(Verb.CHECK, Resource.BILL, demo=True)],
    )
    app.include_router(decisions.router(worker.service, worker.log, worker.clock, settings.identity.site))
    app.include_router(
        health.router(
            worker.follower, worker.log, worker.metrics, worker.engine, worker.clock, worker.outside
        )
    )
    app.include_router(audit.router(worker.engine, worker.ledger, worker.clock))
    # Last: routes are tried one after the other, and an order's check must not wait for thirty pages.
    worker.identity.install(app)
    if settings.cors_origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=settings.cors_origins,
            allow_methods=cds_hooks.CORS_METHODS,
            allow_headers=(*cds_hooks.CORS_HEADERS, "Idempotency-Key"),
        )
    return app
