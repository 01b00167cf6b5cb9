"""The provider's keys are read when first needed, by many at once and while the store is away."""

from __future__ import annotations

import asyncio
import datetime as dt
import time

import pytest

from adapters.identity.key_ring import KeyRing
from engine.identity import SigningKey


class Slow:
    """A store that takes its time, or is away."""

    def __init__(self) -> None:
        self.held: list[SigningKey] = []
        self.away = False
        self.asked = 0

    def put_key(self, key: SigningKey, /) -> None:
        self.held.append(key)

    def keys(self, at: dt.datetime, /) -> tuple[SigningKey, ...]:
        self.asked += 1
        time.sleep(0.05)
        if self.away:
            raise ConnectionError
        return tuple(self.held)


class Open:
    """A seal that hides nothing."""

    def seal(self, plain: bytes, context: str) -> bytes:
        return plain

    def open(self, sealed: bytes, context: str) -> bytes:
        return sealed


@pytest.fixture
def store() -> Slow:
    """Give a store that holds one key."""
    made = Slow()
    KeyRing(made, Open(), lambda: dt.datetime.now(dt.UTC)).rotate()
    made.asked = 0
    return made


@pytest.fixture
def ring(store: Slow) -> KeyRing:
    """Give the ring of a worker that has just started."""
    return KeyRing(store, Open(), lambda: dt.datetime.now(dt.UTC))


async def test_the_first_requests_of_a_worker_all_wait_for_the_keys(store: Slow, ring: KeyRing) -> None:
    kid = store.held[0].kid
    found = await asyncio.gather(*(ring.find(kid) for _ in range(20)))
    assert None not in found
    assert store.asked == 1


async def test_a_store_that_is_away_makes_no_key_unknown(store: Slow, ring: KeyRing) -> None:
    store.away = True
    kid = store.held[0].kid
    told = await asyncio.gather(*(ring.find(kid) for _ in range(20)), return_exceptions=True)
    assert [type(one) for one in told] == [ConnectionError] * 20
    assert store.asked == 1


async def test_an_unknown_key_is_asked_for_once_a_second(store: Slow, ring: KeyRing) -> None:
    assert [await ring.find("unknown") for _ in range(20)] == [None] * 20
    assert store.asked == 1
