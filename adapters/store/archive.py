"""Move months of the decision log into Parquet files: written, read back, then taken out of the database."""

from __future__ import annotations

import datetime as dt
import hashlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import msgspec
import sqlalchemy as sa
from sqlalchemy.engine import Connection, Engine

from adapters.store.audit_ledger import Ledger
from adapters.store.audit_reading import reading
from adapters.store.database import StoreError, writing
from adapters.store.months import next_month
from adapters.store.tables import Moment, decision
from engine.audit import Kind, event

__all__ = ["Archived", "archive_month", "months_with_decisions", "shortest_retention"]

_ROWS: Final = 5000
_DELETED_AT_ONCE: Final = 1000
shortest_retention: Final = dt.timedelta(days=183)
"""Six months (Cyber-security Law, article 21)."""


class Archived(msgspec.Struct, frozen=True):
    """One month that has left the database."""

    month: dt.date
    file: Path
    rows: int
    digest: str  # of the file


def months_with_decisions(engine: Engine, before: dt.date) -> list[dt.date]:
    """Return the months (UTC) before ``before`` that hold decisions, oldest first."""
    found: list[dt.date] = []
    limit = _midnight(before)
    with engine.connect() as connection:
        since = _midnight(dt.date(1, 1, 1))
        while True:
            query = sa.select(sa.func.min(decision.c.at)).where(decision.c.at >= since, decision.c.at < limit)
            first = connection.execute(query).scalar_one()
            if first is None:
                return found
            found.append(first.date().replace(day=1))
            since = _midnight(next_month(found[-1]))


def archive_month(
    engine: Engine, ledger: Ledger, month: dt.date, folder: Path, *, at: dt.datetime, who: str
) -> Archived:
    """Write a month (UTC) to ``decisions-YYYY-MM.parquet`` and take it out of the database.

    Columns are those of the table: what is sealed stays sealed, under the key that ``seal_key`` names. The
    audit log tells rows and digest of the file, in the transaction in which the last row goes. Raises
    ``StoreError`` when the file is there already, cannot be read back, or rows came meanwhile: then nothing
    was taken out, or on SQLite as much as was deleted so far.
    """
    target = folder / f"decisions-{month:%Y-%m}.parquet"
    if target.exists():
        raise StoreError(f"{target} is there already. Move it away, or archive into another folder.")
    folder.mkdir(parents=True, exist_ok=True)
    partial = target.with_suffix(".part")
    rows = _write(engine, month, partial)
    digest = _digest(partial)
    if _count(partial) != rows:
        raise StoreError(f"{partial} does not hold the {rows} rows that were written. Check the disk.")
    partial.replace(target)
    _sync(folder)
    done = Archived(month, target, rows, digest)
    detail: dict[str, str | int] = {
        "file_digest": digest,
        "month": f"{month:%Y-%m}",
        "rows": rows,
        "until": _midnight(next_month(month)).isoformat(),
    }
    noted = event(Kind.ARCHIVE, at=at, who=who, source="cli", object=f"archive/{target.name}", detail=detail)
    if engine.dialect.name == "sqlite":
        _delete_some_at_a_time(engine, month)
    with writing(engine) as connection:
        if engine.dialect.name == "postgresql":
            _drop_partition(connection, month, rows)
        ledger.add(connection, noted)
    return done


def _midnight(day: dt.date) -> dt.datetime:
    return dt.datetime(day.year, day.month, day.day, tzinfo=dt.UTC)


def _within(month: dt.date) -> sa.ColumnElement[bool]:
    return sa.and_(decision.c.at >= _midnight(month), decision.c.at < _midnight(next_month(month)))


def _pyarrow() -> Any:
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as error:
        raise StoreError("Archives need pyarrow: pip install 'ruleward[archive]'") from error
    return pyarrow


def _schema(pa: Any) -> Any:
    kinds = {bytes: pa.binary(), int: pa.int64(), str: pa.string()}

    def kind(column: sa.Column[Any]) -> Any:
        moment = isinstance(column.type, Moment)
        return pa.timestamp("us", tz="UTC") if moment else kinds[column.type.python_type]

    return pa.schema([pa.field(column.name, kind(column), nullable=False) for column in decision.columns])


def _batches(connection: Connection, month: dt.date) -> Iterator[list[dict[str, Any]]]:
    query = sa.select(decision).where(_within(month)).order_by(decision.c.at, decision.c.id)
    result = connection.execute(query, execution_options={"yield_per": _ROWS}).mappings()
    for some in result.partitions():
        yield [dict(row) for row in some]


def _write(engine: Engine, month: dt.date, path: Path) -> int:
    pa = _pyarrow()
    schema, rows = _schema(pa), 0
    with reading(engine) as connection, path.open("wb") as out:
        with pa.parquet.ParquetWriter(out, schema, compression="zstd") as writer:
            for some in _batches(connection, month):
                writer.write_table(pa.Table.from_pylist(some, schema=schema))
                rows += len(some)
        out.flush()
        os.fsync(out.fileno())
    return rows


def _count(path: Path) -> int:
    """Read every row back; a damaged page raises."""
    rows = 0
    for batch in _pyarrow().parquet.ParquetFile(path).iter_batches(_ROWS):
        rows += batch.num_rows
    return rows


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return f"sm3:{hashlib.file_digest(file, lambda: hashlib.new('sm3')).hexdigest()}"


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _drop_partition(connection: Connection, month: dt.date, rows: int) -> None:
    """Drop the month's table; decisions of other months wait for a moment only, at the very end."""
    name = f"decision_{month:%Y_%m}"
    connection.execute(
        sa.text("DELETE FROM decision_key WHERE at >= :start AND at < :until"),
        {"start": _midnight(month), "until": _midnight(next_month(month))},
    )
    there = connection.execute(sa.text("SELECT to_regclass(:name)"), {"name": name}).scalar_one()
    if there is not None:
        connection.execute(sa.text(f"ALTER TABLE decision DETACH PARTITION {name}"))
        found = connection.execute(sa.text(f"SELECT count(*) FROM {name}")).scalar_one()
        connection.execute(sa.text(f"DROP TABLE {name}"))
    else:
        found = connection.execute(sa.delete(decision).where(_within(month))).rowcount
    if found != rows:
        raise StoreError(f"{found - rows} decisions of {month:%Y-%m} came while it was written. Do it again.")


def _delete_some_at_a_time(engine: Engine, month: dt.date) -> None:
    """Delete without holding SQLite's only write lock for long."""
    some = sa.select(decision.c.id).where(_within(month)).limit(_DELETED_AT_ONCE)
    while True:
        with writing(engine) as connection:
            deleted = connection.execute(sa.delete(decision).where(decision.c.id.in_(some))).rowcount
        if deleted == 0:
            return
