"""Let a ``jti`` count once: in this worker's memory first, then in the database that all workers share."""

from __future__ import annotations

import asyncio
import datetime as dt
import hashlib
import heapq
from typing import Final, Protocol

from adapters.identity.refusal import TokenRefused

__all__ = ["Replays", "Seen"]

_MOST: Final = 100_000


class Seen(Protocol):
    """The memory that all workers share."""

    def first_use(self, digest: str, until: dt.datetime, /) -> bool: ...


class Replays:
    """What was seen and is not yet expired."""

    def __init__(self, shared: Seen) -> None:
        self._shared = shared
        self._held: set[str] = set()
        self._ends: list[tuple[dt.datetime, str]] = []

    async def take(self, issuer: str, jti: str, until: dt.datetime, at: dt.datetime) -> None:
        """Use a ``jti`` up; raises ``TokenRefused`` when it was used before, here or in another worker."""
        digest = hashlib.sha256(f"{issuer}\0{jti}".encode()).hexdigest()
        while self._ends and (self._ends[0][0] < at or len(self._ends) > _MOST):
            self._held.discard(heapq.heappop(self._ends)[1])
        if digest in self._held:
            raise TokenRefused("the token was used before")
        self._held.add(digest)
        heapq.heappush(self._ends, (until, digest))
        if not await asyncio.to_thread(self._shared.first_use, digest, until):
            raise TokenRefused("the token was used before")
