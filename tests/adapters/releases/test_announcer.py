"""Redis is a bell: it wakes sooner, and nothing depends on it."""

from __future__ import annotations

import time
from typing import Protocol

import pytest
import redis

from adapters.releases.announcer import Bell


class Server(Protocol):
    url: str

    def start(self) -> None: ...
    def kill(self) -> None: ...
    def client(self) -> redis.Redis: ...


def until(what: Bell, *, listening: bool) -> None:
    for _ in range(500):
        if what.listening is listening:
            return
        time.sleep(0.01)
    raise AssertionError(f"listening never became {listening}")


def test_a_bell_without_redis_waits_for_the_next_look() -> None:
    bell = Bell(None)
    assert not bell.ring()
    began = time.monotonic()
    bell.wait(0.02)
    assert time.monotonic() - began >= 0.02
    bell.close()


@pytest.mark.redis
def test_a_ring_wakes_whoever_waits(redis_server: Server) -> None:
    ringing, hearing = Bell(redis_server.url), Bell(redis_server.url)
    hearing.listen()
    until(hearing, listening=True)
    hearing.wait(5)  # the subscription itself rings once
    assert ringing.ring()
    began = time.monotonic()
    hearing.wait(30)
    assert time.monotonic() - began < 10
    hearing.close()
    ringing.close()


@pytest.mark.redis
def test_a_redis_that_dies_and_comes_back_is_listened_to_again(redis_server: Server) -> None:
    bell = Bell(redis_server.url)
    bell.listen()
    until(bell, listening=True)
    redis_server.kill()
    until(bell, listening=False)
    assert not bell.ring()
    redis_server.start()
    until(bell, listening=True)
    assert bell.ring()
    bell.close()


@pytest.mark.redis
def test_a_redis_that_is_wiped_still_rings(redis_server: Server) -> None:
    bell = Bell(redis_server.url)
    bell.listen()
    until(bell, listening=True)
    bell.wait(5)
    redis_server.client().flushall()
    assert bell.ring()
    began = time.monotonic()
    bell.wait(30)
    assert time.monotonic() - began < 10
    bell.close()
