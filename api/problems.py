"""Answer a refused request with problem details (RFC 9457): what, where, how to mend."""

from __future__ import annotations

import msgspec
from fastapi import Response

__all__ = ["PROBLEM", "Problem", "problem"]


class Problem(msgspec.Struct, omit_defaults=True):
    """The body of a refusal; ``path`` points at the fault in the request."""

    title: str
    status: int
    detail: str = ""
    path: str = ""
    type: str = "about:blank"


PROBLEM = {
    "content": {
        "application/problem+json": {
            "schema": {
                "type": "object",
                "required": ["title", "status"],
                "properties": {
                    "type": {"type": "string"},
                    "title": {"type": "string"},
                    "status": {"type": "integer"},
                    "detail": {"type": "string"},
                    "path": {"type": "string"},
                },
            }
        }
    }
}
"""For ``responses`` of a route in the OpenAPI."""


def problem(status: int, title: str, detail: str = "", path: str = "") -> Response:
    """Return the refusal as a response."""
    body = msgspec.json.encode(Problem(title, status, detail, path))
    return Response(body, status, media_type="application/problem+json")
