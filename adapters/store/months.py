"""Keep the decision log's months: make them ahead, and say what of them the tables do not name."""

from __future__ import annotations

import datetime as dt
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.engine import Engine

from adapters.store.database import writing

__all__ = ["compared", "first_of", "make_months", "next_month"]

_AHEAD: Final = 3


def first_of(day: dt.date) -> dt.date:
    """Return the first day of the month."""
    return day.replace(day=1)


def next_month(month: dt.date) -> dt.date:
    """Return the first day of the month after."""
    return first_of(first_of(month) + dt.timedelta(days=32))


def make_months(engine: Engine, now: dt.datetime) -> int:
    """Make the partitions of this month and the next three (UTC); return how many were new.

    Without them rows go into ``decision_rest`` and are moved when their month is made, so a missed round
    costs nothing but that. SQLite has no partitions.
    """
    if engine.dialect.name != "postgresql":
        return 0
    made, month = 0, first_of(now.astimezone(dt.UTC).date())
    for _ in range(_AHEAD + 1):
        with engine.connect() as connection:
            name = f"decision_{month:%Y_%m}"
            there = connection.execute(sa.text("SELECT to_regclass(:name)"), {"name": name}).scalar_one()
        if there is None:
            with writing(engine) as connection:
                query = sa.text("SELECT decision_month(:month)")
                made += bool(connection.execute(query, {"month": month}).scalar_one())
        month = next_month(month)
    return made


def compared(_object: Any, name: str | None, kind: str, _reflected: bool, _other: Any) -> bool:
    """Say for alembic whether tables.py names it: months and keys of PostgreSQL are the migrations' own."""
    if kind == "unique_constraint":
        return name != "uq_decision_key"
    return not (kind == "table" and name is not None and name.startswith("decision_"))
