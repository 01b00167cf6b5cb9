"""Serve RuleWard with one more route: ``/echo`` decodes the JSON of a body and encodes it again.

Started by the service benchmarks as ``python -m benchmarks._service_app PORT WORKERS``.
"""

from __future__ import annotations

import sys

import msgspec
from fastapi import FastAPI, Request, Response

from api.app import create_app as create_service
from api.serve import serve
from rules import FOLDER

__all__ = ["create_app"]


def create_app() -> FastAPI:
    """Return the service with its echo route."""
    app = create_service()

    @app.post("/echo")
    async def echo(request: Request) -> Response:
        value = msgspec.json.decode(await request.body())
        return Response(msgspec.json.encode(value), media_type="application/json")

    return app


if __name__ == "__main__":
    sys.exit(
        serve(
            "127.0.0.1", int(sys.argv[1]), int(sys.argv[2]), FOLDER,
            application="benchmarks._service_app:create_app",
        )
    )  # fmt: skip
