"""Answer a refused request with problem details (RFC 9457): what, where, how to mend."""

from __future__ import annotations

import re

import msgspec
from fastapi import Response

__all__ = ["PROBLEM", "Problem", "problem", "told"]


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


_VALUE = re.compile(r"(unknown field|Invalid enum value|Invalid value) .*", re.DOTALL)
_PLACE = re.compile(r"\$(?:\.\w+|\[\d*\.*\])*")


def told(error: Exception) -> tuple[str, str]:
    """Return what msgspec found and where, without what was sent: it may be a name."""
    what, _, place = str(error).rpartition(" - at `")
    place = place.removesuffix("`")
    if not what or not _PLACE.fullmatch(place):
        what, place = str(error), "$"
    return _VALUE.sub(r"\1", what), place


def problem(status: int, title: str, detail: str = "", path: str = "") -> Response:
    """Return the refusal as a response."""
    body = msgspec.json.encode(Problem(title, status, detail, path))
    return Response(body, status, media_type="application/problem+json")
