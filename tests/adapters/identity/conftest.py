"""Give the tests of identity keys, a store in memory of the database, and a clock that they set."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from pathlib import Path

import pytest

from adapters.store.accounts import StoredIdentity
from adapters.store.database import open_database, upgrade


class SetClock:
    """A clock that stands until it is moved."""

    def __init__(self) -> None:
        self.at = dt.datetime(2026, 3, 1, 10, 0, tzinfo=dt.UTC)

    def __call__(self) -> dt.datetime:
        return self.at

    def move(self, **by: float) -> None:
        self.at += dt.timedelta(**by)


@pytest.fixture
def clock() -> SetClock:
    return SetClock()


@pytest.fixture
def store(tmp_path: Path) -> Iterator[StoredIdentity]:
    engine = open_database(f"sqlite:///{tmp_path}/identity.db", patience=5.0)
    upgrade(engine)
    yield StoredIdentity(engine)
    engine.dispose()
