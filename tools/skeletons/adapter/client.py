"""Fetch from the hospital's __SYSTEM__ over HTTP; all of this adapter's I/O is here."""

from __future__ import annotations

import httpx

from .settings import Settings

__all__ = ["Client", "Unreachable"]


class Unreachable(Exception):
    """The system did not answer: what it would have said is unknown, never "none"."""


class Client:
    """Ask the system for one patient. Owns its connections: close it with ``await client.aclose()``."""

    def __init__(self, settings: Settings, transport: httpx.AsyncBaseTransport | None = None) -> None:
        self._http = httpx.AsyncClient(
            base_url=settings.base_url, timeout=settings.timeout_seconds, transport=transport
        )

    async def fetch(self, patient_id: str) -> bytes | None:
        """Return the system's JSON, ``None`` when it knows no such patient; raise :class:`Unreachable`."""
        try:
            response = await self._http.get("/patients", params={"id": patient_id})
            if response.status_code == httpx.codes.NOT_FOUND:
                return None
            return response.raise_for_status().content
        except httpx.HTTPError as error:
            raise Unreachable(f"__SYSTEM__ did not answer: {error}") from error

    async def aclose(self) -> None:
        """Close the connections."""
        await self._http.aclose()
