"""Tell how the service stands: alive, ready, which release each worker runs, and its metrics."""

from __future__ import annotations

import datetime as dt
from typing import Any

import msgspec
import sqlalchemy as sa
from fastapi import APIRouter, Response

from adapters.store import releases as store
from adapters.store.decisions import StoredDecisions
from api.access import PUBLIC, requires
from api.metrics import Metrics
from api.outside import OutsideTransport
from api.rollout import Follower
from engine.access import Resource, Verb
from engine.ports import Clock

__all__ = ["router"]

_FRESH = dt.timedelta(seconds=10)


class Refusal(msgspec.Struct, frozen=True):
    """What keeps something newer from getting in force; ``release`` is empty where none could be made."""

    release: str
    by: str  # publisher | worker
    problems: tuple[store.Problem, ...]


class Readiness(msgspec.Struct, kw_only=True):
    """The answer of ``/ready``: 200 when this worker can decide and record, else 503."""

    ready: bool
    release: str
    since: dt.datetime | None
    worker: str
    from_disk: bool
    refused: Refusal | None
    decision_log: str
    rules: int
    outside: dict[str, str]
    """Systems outside that were called: ``well``, or ``left alone`` while they fail. Checks that need them
    say *not checked*; this worker stays ready."""


def _json(body: Any, status: int = 200) -> Response:
    return Response(msgspec.json.encode(body), status, media_type="application/json")


def router(
    follower: Follower,
    log: StoredDecisions,
    metrics: Metrics,
    engine: sa.Engine,
    clock: Clock,
    outside: OutsideTransport,
) -> APIRouter:
    """Return ``/live``, ``/ready``, ``/metrics`` and ``/releases/status``."""
    routes = APIRouter(tags=["operations"])

    def refusal() -> Refusal | None:
        """Return why something newer is not in force: refused here, or by the publisher."""
        standing = follower.standing
        if standing.refused:
            return Refusal(standing.refused, "worker", standing.problems)
        if standing.rejection is not None:
            return Refusal(standing.rejection.release, "publisher", standing.rejection.problems)
        return None

    def readiness() -> Readiness:
        """Read what the follower and the log last saw: quick, whatever the database does."""
        standing = follower.standing
        snapshot = follower.now()
        trouble = standing.trouble or log.trouble
        refused = refusal()
        metrics.reaches(outside.states)
        metrics.stands(
            ready=snapshot is not None and not trouble, refused=refused is not None, release=standing.release,
            load_seconds=standing.load_seconds,
        )  # fmt: skip
        return Readiness(
            ready=snapshot is not None and not trouble,
            release=standing.release,
            since=standing.since,
            worker=follower.worker,
            from_disk=standing.from_disk,
            refused=refused,
            decision_log=trouble or "well",
            rules=len(snapshot.rules) if snapshot else 0,
            outside={origin: "left alone" if left else "well" for origin, left in outside.states.items()},
        )

    @routes.get(
        "/live",
        summary="The process answers",
        responses={200: {"description": "Alive"}},
        openapi_extra=PUBLIC,
    )
    def live() -> dict[str, bool]:
        return {"alive": True}

    @routes.get(
        "/ready",
        summary="A release is in force and decisions are recorded",
        openapi_extra=PUBLIC,
        responses={200: {"description": "Ready"}, 503: {"description": "Not ready, with the reason"}},
    )
    def ready() -> Response:
        body = readiness()
        return _json(body, 200 if body.ready else 503)

    @routes.get(
        "/metrics",
        summary="Prometheus metrics of this worker",
        dependencies=[requires(Verb.READ, Resource.OPERATION, demo=True)],
        response_class=Response,
    )
    def metrics_text() -> Response:
        readiness()
        return Response(metrics.text(), media_type="text/plain; version=0.0.4")

    @routes.get(
        "/releases/status",
        summary="What each worker runs, what is announced, what was refused",
        dependencies=[requires(Verb.READ, Resource.OPERATION, demo=True)],
        responses={503: {"description": "The database does not answer"}},
    )
    def status() -> Response:
        try:
            body = {
                "announced": store.latest_announcement(engine),
                "refused": refusal(),
                "workers": store.workers(engine, since=clock() - _FRESH),
            }
        except sa.exc.SQLAlchemyError as error:
            return _json({"title": "The database does not answer", "detail": type(error).__name__}, 503)
        return _json(body)

    return routes
