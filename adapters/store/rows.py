"""Turn entries into rows and back, and spell the statements that write them."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from typing import Final

import msgspec
from sqlalchemy import Row, Table

from adapters.store.sealing import Seal, decision_context, feedback_context, opened, patient_blind
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
# By these the writer knows its new rows again.
_TELLING: Final[dict[Table, tuple[str, ...]]] = {decision: ("id",), feedback: _UNIQUE[feedback]}
_LARGEST_CHUNK: Final = 256


def decision_row(entry: Entry, moment: Callable[[dt.datetime], object], seal: Seal) -> tuple[object, ...]:
    """Return the values of ``entry`` in the order of the table, sealed where they must be.

    ``ValueError`` if its time has no zone, ``RuleWardError`` if the keys cannot be used.
    """
    offset = entry.at.utcoffset()
    if offset is None:
        raise ValueError("the decision's time has no zone")
    key = seal.active()

    def sealed(column: str, content: bytes) -> bytes:
        return seal.seal(content, decision_context(column, entry.id), key)

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
        sealed("trace", entry.trace),
        sealed("answer", entry.answer),
        msgspec.json.encode(entry.cards).decode(),
        sealed("patient", entry.patient.encode()),
        patient_blind(seal, entry.patient),
        key,
        entry.site,
        entry.department,
    )


def feedback_row(
    entry: FeedbackEntry, moment: Callable[[dt.datetime], object], seal: Seal
) -> tuple[object, ...]:
    """Return the values of ``entry`` in the order of the table, as :func:`decision_row` does."""
    if entry.outcome_at.utcoffset() is None:
        raise ValueError("the outcome's time has no zone")
    key = seal.active()
    context = feedback_context(entry.card, entry.outcome, entry.outcome_at)
    return (
        entry.service,
        entry.card,
        entry.outcome,
        moment(entry.outcome_at),
        msgspec.json.encode(entry.accepted_suggestions).decode(),
        entry.reason_code,
        entry.reason_system,
        seal.seal(entry.comment.encode(), context, key),
        key,
    )


def entry_of(row: Row[tuple[object, ...]], seal: Seal) -> Entry:
    """Return what was written, opened, its time in the zone in which it was written."""
    values = dict(row._mapping)
    key = values.pop("seal_key")
    del values["patient_blind"]
    for column in ("trace", "answer", "patient"):
        values[column] = opened(seal, key, values[column], decision_context(column, values["id"]))
    zone = dt.timezone(dt.timedelta(seconds=values.pop("at_offset")))
    values["at"] = values["at"].astimezone(zone)
    values["cards"] = msgspec.json.decode(values["cards"], type=tuple[str, ...])
    values["patient"] = values["patient"].decode()
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
    """Spell an INSERT of many rows that leaves alone what is there and tells which were new.

    One statement and not many: sqlite3 gives the interpreter lock away at every step, and a busy event
    loop may keep it for milliseconds before each comes back.
    """
    columns = _COLUMNS[table]
    one = f"({', '.join([mark] * len(columns))})"
    conflict = f" ON CONFLICT ({_list(_UNIQUE[table])}) DO NOTHING"
    if table is decision and mark == "%s":
        conflict = ""  # PostgreSQL keeps the keys of partitioned decisions apart, and a trigger asks them
    return (
        f"INSERT INTO {_quoted(table.name)} ({_list(columns)}) VALUES {', '.join([one] * rows)}{conflict}"
        f" RETURNING {_list(_TELLING[table])}"
    )


@cache
def select_by_key(keys: int, mark: str) -> str:
    """Spell the SELECT that reads back what stands under some keys."""
    columns = ", ".join(
        f"d.{_quoted(name)}" for name in ("key", "id", "request_digest", "answer", "seal_key")
    )
    marks = ", ".join([mark] * keys)
    if mark == "%s":  # PostgreSQL: the key leads to id and time, and these to the one partition
        source = "decision_key k JOIN decision d ON d.id = k.id AND d.at = k.at"
        return f"SELECT {columns} FROM {source} WHERE k.key IN ({marks})"
    return f"SELECT {columns} FROM decision d WHERE d.key IN ({marks})"


def _quoted(name: str) -> str:
    return f'"{name}"'


def _list(names: Sequence[str]) -> str:
    return ", ".join(map(_quoted, names))
