"""Seal anew, beside the running service, what is not under the active key: after a rotation, or from before.

Rows go by a few at a time: read, opened and sealed without a lock, then written in one short transaction.
A row of the decision log never changes otherwise, so that the two cannot cross; what is interrupted goes
on where it stood when it is called again.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.engine import Engine

from adapters.store.database import writing
from adapters.store.sealing import Seal, decision_context, feedback_context, opened, patient_blind
from adapters.store.tables import decision, feedback
from engine.errors import RuleWardError

__all__ = ["Resealed", "compact", "reseal", "rows_by_key"]

_LOG: Final = logging.getLogger(__name__)
_DECISION: Final = ("id", "trace", "answer", "patient", "seal_key")
_FEEDBACK: Final = ("seq", "card", "outcome", "outcome_at", "comment", "seal_key")

_Row = Mapping[str, Any]


@dataclass(frozen=True)
class Resealed:
    """What one pass did."""

    rows: int
    refused: int
    """Rows that do not open: their key is missing, or they were altered. They stay as they are."""


def reseal(engine: Engine, seal: Seal, *, batch: int = 200, pause: float = 0.01) -> Resealed:
    """Bring every row under the active key; ``pause`` seconds of rest after each ``batch`` rows."""
    done = refused = 0
    for table, columns, turn in (
        (decision, _DECISION, _decision_turned),
        (feedback, _FEEDBACK, _feedback_turned),
    ):
        key = table.c[columns[0]]
        for rows in _elsewhere(engine, seal, [table.c[name] for name in columns], batch):
            changes = [change for row in rows if (change := _turned(turn, seal, row)) is not None]
            refused += len(rows) - len(changes)
            done += _write(engine, key, changes)
            time.sleep(pause)
    return Resealed(done, refused)


def rows_by_key(engine: Engine) -> dict[str, int]:
    """Return how many rows are under each key's id; the empty id is of those that are not sealed."""
    counts: dict[str, int] = {}
    with engine.connect() as connection:
        for table in (decision, feedback):
            query = sa.select(table.c.seal_key, sa.func.count()).group_by(table.c.seal_key)
            for key_id, count in connection.execute(query):
                counts[key_id] = counts.get(key_id, 0) + count
    return counts


def compact(engine: Engine) -> None:
    """Write both tables anew, so that no page holds what a row was before it was sealed.

    PostgreSQL locks each table meanwhile, and its write-ahead log and backups keep the old pages until they
    are recycled.
    """
    if engine.dialect.name == "postgresql":
        with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            for table in (decision, feedback):
                connection.execute(sa.text(f'VACUUM (FULL, ANALYZE) "{table.name}"'))
        return
    pooled = engine.raw_connection()
    try:
        cursor = pooled.cursor()
        cursor.execute("VACUUM")
        cursor.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        cursor.close()
    finally:
        pooled.close()


def _elsewhere(
    engine: Engine, seal: Seal, columns: Sequence[sa.Column[Any]], batch: int
) -> Iterator[Sequence[_Row]]:
    """Give the rows that another key sealed, or none, in the order of their primary key."""
    key, seal_key = columns[0], columns[-1]
    last: object = None
    while True:
        query = sa.select(*columns).where(seal_key != seal.active()).order_by(key).limit(batch)
        with engine.connect() as connection:
            found = connection.execute(query if last is None else query.where(key > last))
            rows: list[_Row] = [dict(row) for row in found.mappings()]
        if not rows:
            return
        last = rows[-1][key.name]
        yield rows


def _turned(
    turn: Callable[[Seal, _Row], dict[str, object]], seal: Seal, row: _Row
) -> dict[str, object] | None:
    try:
        return turn(seal, row)
    except RuleWardError as error:
        _LOG.error("row %s stays under key %s: %s", row.get("id", row.get("seq")), row["seal_key"], error)
        return None


def _decision_turned(seal: Seal, row: _Row) -> dict[str, object]:
    key_id = seal.active()
    change: dict[str, object] = {"was_key": row["seal_key"], "was": row["id"], "seal_key": key_id}
    for column in ("trace", "answer", "patient"):
        place = decision_context(column, row["id"])
        content = opened(seal, row["seal_key"], row[column], place)
        change[column] = seal.seal(content, place, key_id)
        if column == "patient":
            change["patient_blind"] = patient_blind(seal, content.decode())
    return change


def _feedback_turned(seal: Seal, row: _Row) -> dict[str, object]:
    key_id = seal.active()
    place = feedback_context(row["card"], row["outcome"], row["outcome_at"])
    content = opened(seal, row["seal_key"], row["comment"], place)
    sealed = seal.seal(content, place, key_id)
    return {"was_key": row["seal_key"], "was": row["seq"], "seal_key": key_id, "comment": sealed}


def _write(engine: Engine, key: sa.Column[Any], changes: Sequence[dict[str, object]]) -> int:
    """Write the rows that nobody has sealed anew meanwhile."""
    if not changes:
        return 0
    table = key.table
    assert isinstance(table, sa.Table)
    names = [name for name in changes[0] if not name.startswith("was")]
    statement = (
        sa.update(table)
        .where(key == sa.bindparam("was"), table.c.seal_key == sa.bindparam("was_key"))
        .values({name: sa.bindparam(f"new_{name}") for name in names})
    )
    with writing(engine) as connection:
        connection.execute(
            statement,
            [
                {(name if name.startswith("was") else f"new_{name}"): value for name, value in change.items()}
                for change in changes
            ],
        )
    return len(changes)
