"""Name the tables and their columns, once for both databases."""

from __future__ import annotations

import datetime as dt
from typing import Final

from sqlalchemy import (
    BigInteger,
    Column,
    DateTime,
    Dialect,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
    TypeDecorator,
    UniqueConstraint,
)

__all__ = [
    "METADATA",
    "Moment",
    "announcement",
    "decision",
    "feedback",
    "rejection",
    "release",
    "worker",
]


class Moment(TypeDecorator[dt.datetime]):
    """A point in time: ``timestamptz`` in PostgreSQL, sortable UTC text in SQLite; comes back in UTC."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: dt.datetime | None, dialect: Dialect) -> dt.datetime | None:
        """Refuse a time without a zone: it names no point in time."""
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError(f"{value.isoformat()} has no time zone")
        in_utc = value.astimezone(dt.UTC)
        return in_utc.replace(tzinfo=None) if dialect.name == "sqlite" else in_utc

    def process_result_value(self, value: dt.datetime | None, dialect: Dialect) -> dt.datetime | None:
        """Give UTC back, whatever zone the session shows."""
        if value is None:
            return None
        return value.replace(tzinfo=dt.UTC) if value.tzinfo is None else value.astimezone(dt.UTC)


METADATA: Final = MetaData(
    naming_convention={
        "pk": "pk_%(table_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
    }
)

# SQLite numbers rows only in an INTEGER column; PostgreSQL gets room for more.
_SEQ = BigInteger().with_variant(Integer, "sqlite")

decision: Final = Table(
    "decision",
    METADATA,
    Column("id", Text, primary_key=True),
    Column("key", Text, nullable=False),
    Column("request_digest", Text, nullable=False),
    Column("interface", Text, nullable=False),
    Column("stage", Text, nullable=False),
    Column("at", Moment, nullable=False),
    # Rules ask for the local day of the decision, and PostgreSQL forgets the zone that a time came with.
    Column("at_offset", Integer, nullable=False, comment="seconds east of UTC"),
    Column("release", Text, nullable=False),
    Column("facts_digest", Text, nullable=False),
    Column("status", Text, nullable=False),
    Column("findings", Integer, nullable=False),
    Column("not_checked", Integer, nullable=False),
    Column("trace", LargeBinary, nullable=False),
    Column("answer", LargeBinary, nullable=False),
    Column("cards", Text, nullable=False, comment="JSON list of ids"),
    Column("patient", LargeBinary, nullable=False, comment="sealed; the caller's id, never a name"),
    Column("patient_blind", Text, nullable=False, server_default="", comment="equal for equal patients"),
    # Of trace, answer and patient: sealing.py.
    Column("seal_key", Text, nullable=False, server_default="", comment="empty: not sealed"),
    # Last, as the migration adds them: months of PostgreSQL are copied column by column in this order.
    Column("site", Text, nullable=False, server_default="", comment="empty: not known"),
    Column("department", Text, nullable=False, server_default="", comment="of the visit; decides who reads"),
    UniqueConstraint("key"),
    Index(None, "at"),
    Index(None, "release"),
    Index(None, "patient_blind"),
)

feedback: Final = Table(
    "feedback",
    METADATA,
    Column("seq", _SEQ, primary_key=True, autoincrement=True),
    Column("service", Text, nullable=False),
    Column("card", Text, nullable=False),
    Column("outcome", Text, nullable=False),
    Column("outcome_at", Moment, nullable=False),
    Column("accepted_suggestions", Text, nullable=False, comment="JSON list of ids"),
    Column("reason_code", Text, nullable=False),
    Column("reason_system", Text, nullable=False),
    Column("comment", LargeBinary, nullable=False, comment="sealed"),
    Column("seal_key", Text, nullable=False, server_default="", comment="empty: not sealed"),
    UniqueConstraint("card", "outcome", "outcome_at"),
    sqlite_autoincrement=True,
)

release: Final = Table(
    "release",
    METADATA,
    Column("digest", Text, primary_key=True),
    Column("content", LargeBinary, nullable=False),
    Column("created_at", Moment, nullable=False),
    Column("note", Text, nullable=False),
)

announcement: Final = Table(
    "announcement",
    METADATA,
    Column("seq", _SEQ, primary_key=True, autoincrement=True),
    Column("release", Text, ForeignKey("release.digest"), nullable=False),
    Column("at", Moment, nullable=False),
    sqlite_autoincrement=True,
)

rejection: Final = Table(
    "rejection",
    METADATA,
    Column("seq", _SEQ, primary_key=True, autoincrement=True),
    # The newest announcement when this was refused: a later one clears it, whatever the clocks say.
    Column("after", BigInteger, nullable=False),
    Column("at", Moment, nullable=False),
    Column("release", Text, nullable=False, comment="digest, empty when none could be made"),
    Column("problems", Text, nullable=False, comment="JSON list of where, what, mend"),
    sqlite_autoincrement=True,
)

worker: Final = Table(
    "worker",
    METADATA,
    Column("id", Text, primary_key=True),
    Column("pid", Integer, nullable=False),
    Column("release", Text, nullable=False, comment="digest, empty before the first"),
    Column("at", Moment, nullable=False),
)
