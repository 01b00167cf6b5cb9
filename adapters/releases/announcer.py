"""Announce releases by Redis, so that workers need not wait for their next look into the database.

Redis is only a bell: the database says which release, and a worker that hears nothing still looks there.
"""

from __future__ import annotations

import logging
import threading

import redis

__all__ = ["Bell"]

_LOG = logging.getLogger("ruleward.releases")
_CHANNEL = "ruleward:releases"


class Bell:
    """Ring at a new release, and wait for a ring or for the time of the next look."""

    def __init__(self, url: str | None) -> None:
        self._url = url
        self._client = redis.Redis.from_url(url, socket_timeout=2, socket_connect_timeout=2) if url else None
        self._rung = threading.Event()
        self._closed = threading.Event()
        self._subscribed = threading.Event()

    def ring(self) -> bool:
        """Ring; returns whether Redis took it. Never raises: the next look in the database will do."""
        if self._client is None:
            return False
        try:
            self._client.publish(_CHANNEL, b"new")
        except redis.RedisError as error:
            _LOG.warning(
                "Redis does not announce the release (%s); workers will see it at their next look", error
            )
            return False
        return True

    def listen(self) -> None:
        """Start to listen in a thread of its own; a lost connection is taken up again."""
        if self._client is not None:
            threading.Thread(target=self._listen, name="release-bell", daemon=True).start()

    @property
    def listening(self) -> bool:
        """Say whether Redis is subscribed to right now."""
        return self._subscribed.is_set()

    def wait(self, seconds: float) -> None:
        """Return at the next ring, at the latest after so many seconds."""
        self._rung.wait(seconds)
        self._rung.clear()

    def close(self) -> None:
        """Stop listening and wake whoever waits."""
        self._closed.set()
        self._rung.set()

    def _listen(self) -> None:
        while not self._closed.is_set() and self._client is not None:
            try:
                with self._client.pubsub(  # type: ignore[no-untyped-call]  # redis leaves it untyped
                    ignore_subscribe_messages=True
                ) as subscription:
                    subscription.subscribe(_CHANNEL)
                    self._subscribed.set()
                    self._rung.set()  # what was announced before the subscription must not be missed
                    while not self._closed.is_set():
                        if subscription.get_message(timeout=1.0) is not None:
                            self._rung.set()
            except (redis.RedisError, OSError) as error:
                self._subscribed.clear()
                _LOG.warning("Redis is not heard (%s); trying again", error)
                self._closed.wait(1.0)
