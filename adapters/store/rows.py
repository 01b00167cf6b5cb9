"""Turn entries into rows and back, and spell the statements that write them."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from typing import Final

import msgspec
from sqlalchemy import Row, Table

from adapters.store.tables import decision, feedback
from engine.ports import Entry, FeedbackEntry

__all__ = ["chunks", "decision_row", "entry_of", "feedback_row", "insert", "select_by_key"]

# The numbered column is the database's to fill.
_COLUMNS: Final[dict[Table, tuple[str, ...]]] = {
    decision: tuple(column.name for column in decision.columns),
    feedback: tuple(column.name for column in feedback.columns if column.name != "seq"),
}
_UNIQUE: Final[dict[Table, tuple[str, ...]]] = {
    decision: ("key",),
    feedback: ("card", "outcome", "outcome_at"),
}
_LARGEST_CHUNK: Final = 256


def decision_row(entry: Entry, moment: Callable[[dt.datetime], object]) -> tuple[object, ...]:
    """Return the values of ``entry`` in the order of the table; ``ValueError`` if its time has no zone."""
    offset = entry.at.utcoffset()
    if offset is None:
        raise ValueError("the decision's time has no zone")
    return (
        entry.id,
        entry.key,
        entry.request_digest,
        entry.interface,
        entry.stage,
        moment(entry.at),
        int(offset.total_seconds()),
        entry.release,
        entry.facts_digest,
        entry.status,
        entry.findings,
        entry.not_checked,
        entry.trace,
        entry.answer,
        msgspec.json.encode(entry.cards).decode(),
        entry.patient,
    )


def feedback_row(entry: FeedbackEntry, moment: Callable[[dt.datetime], object]) -> tuple[object, ...]:
    """Return the values of ``entry`` in the order of the table; ``ValueError`` if its time has no zone."""
    if entry.outcome_at.utcoffset() is None:
        raise ValueError("the outcome's time has no zone")
    return (
        entry.service,
        entry.card,
        entry.outcome,
        moment(entry.outcome_at),
        msgspec.json.encode(entry.accepted_suggestions).decode(),
        entry.reason_code,
        entry.reason_system,
        entry.comment,
    )


def entry_of(row: Row[tuple[object, ...]]) -> Entry:
    """Return what was written, its time in the zone in which it was written."""
    values = dict(row._mapping)
    zone = dt.timezone(dt.timedelta(seconds=values.pop("at_offset")))
    values["at"] = values["at"].astimezone(zone)
    values["cards"] = msgspec.json.decode(values["cards"], type=tuple[str, ...])
    values["trace"] = bytes(values["trace"])
    values["answer"] = bytes(values["answer"])
    return Entry(**values)


def chunks(rows: Sequence[tuple[object, ...]]) -> Iterator[Sequence[tuple[object, ...]]]:
    """Cut ``rows`` into pieces whose lengths are powers of two, so that few statements are ever prepared."""
    start = 0
    while start < len(rows):
        size = min(_LARGEST_CHUNK, 1 << ((len(rows) - start).bit_length() - 1))
        yield rows[start : start + size]
        start += size


@cache
def insert(table: Table, rows: int, mark: str) -> str:
    """Spell an INSERT of many rows that leaves alone what is there.

    One statement and not many: sqlite3 gives the interpreter lock away at every step, and a busy event
    loop may keep it for milliseconds before each comes back.
    """
    columns = _COLUMNS[table]
    one = f"({', '.join([mark] * len(columns))})"
    return (
        f"INSERT INTO {_quoted(table.name)} ({_list(columns)}) VALUES {', '.join([one] * rows)}"
        f" ON CONFLICT ({_list(_UNIQUE[table])}) DO NOTHING"
    )


@cache
def select_by_key(keys: int, mark: str) -> str:
    """Spell the SELECT that reads back what stands under some keys."""
    return (
        f"SELECT {_list(('key', 'id', 'request_digest', 'answer'))} FROM {_quoted(decision.name)}"
        f" WHERE {_quoted('key')} IN ({', '.join([mark] * keys)})"
    )


def _quoted(name: str) -> str:
    return f'"{name}"'


def _list(names: Sequence[str]) -> str:
    return ", ".join(map(_quoted, names))
