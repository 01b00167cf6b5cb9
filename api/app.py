"""The HTTP service of one worker."""

from __future__ import annotations

import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx
from fastapi import FastAPI
from starlette.middleware.cors import CORSMiddleware

from adapters.emr.client import FhirReader
from api import cds_hooks, decisions, health, nhsa
from api.guard import ensure_ours
from api.settings import Settings, read_settings
from api.wire import Worker, build_worker

__all__ = ["build_app", "create_app"]

_SWITCH_SECONDS = 0.001


def create_app() -> FastAPI:
    """Build the service from the environment; uvicorn calls this in each worker."""
    from rules import FOLDER

    ensure_ours()
    return build_app(read_settings(os.environ, FOLDER))


def build_app(settings: Settings) -> FastAPI:
    """Build the service from settings."""
    worker = build_worker(settings)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        # A release is compiled in a thread beside the requests: let these take the interpreter back sooner.
        sys.setswitchinterval(_SWITCH_SECONDS)
        worker.follower.start()
        yield
        await worker.close()

    app = FastAPI(
        title="RuleWard",
        version="0.1.0",
        summary="Checks clinical and billing actions against rulesets that experts change while it runs.",
        lifespan=lifespan,
        redoc_url=None,
    )
    app.state.worker = worker
    _routes(app, worker, settings)
    if settings.cors_origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=settings.cors_origins,
            allow_methods=("GET", "POST"),
            allow_headers=("Content-Type", "Authorization", "Idempotency-Key"),
        )
    return app


def _routes(app: FastAPI, worker: Worker, settings: Settings) -> None:
    reader = FhirReader(settings.record, httpx.AsyncClient())
    app.include_router(cds_hooks.router(worker.service, settings.record, reader, worker.clock))
    app.include_router(nhsa.router(worker.service, settings.insurance, worker.clock))
    app.include_router(decisions.router(worker.service, worker.log, worker.clock))
    app.include_router(
        health.router(worker.follower, worker.log, worker.metrics, worker.engine, worker.clock)
    )
