"""Name the tables of the audit log and their columns, once for both databases."""

from __future__ import annotations

from typing import Final

from sqlalchemy import BigInteger, CheckConstraint, Column, Index, Integer, LargeBinary, Table, Text

from adapters.store.tables import METADATA, Moment

__all__ = ["audit_chain", "audit_entry", "audit_head"]

# SQLite keeps a table in the order of an INTEGER key, without an index beside it.
_INDEX = BigInteger().with_variant(Integer, "sqlite")

audit_entry: Final = Table(
    "audit_entry",
    METADATA,
    # The chain numbers the entries, not the database: a sequence would leave gaps.
    Column("idx", _INDEX, primary_key=True, autoincrement=False),
    Column("at", Moment, nullable=False),
    Column("kind", Text, nullable=False),
    Column("who", Text, nullable=False),
    Column("result", Text, nullable=False),
    Column("source", Text, nullable=False),
    Column("object", Text, nullable=False),
    Column("patient", Text, nullable=False, comment="blind index"),
    Column("payload", Text, nullable=False, comment="digest of the record that lies elsewhere"),
    Column("detail", Text, nullable=False, comment="JSON of codes and numbers"),
    Column("note", LargeBinary, nullable=False, comment="sealed"),
    Column("previous", Text, nullable=False),
    Column("digest", Text, nullable=False),
    Index(None, "at"),
    Index(None, "patient"),
)

audit_chain: Final = Table(
    "audit_chain",
    METADATA,
    Column(
        "singleton",
        Integer,
        CheckConstraint("singleton = 1", name="ck_audit_chain_singleton"),
        primary_key=True,
    ),
    Column("chain", Text, nullable=False, comment="id of the chain"),
    Column("idx", _INDEX, nullable=False, comment="of the last entry"),
    Column("digest", Text, nullable=False),
    Column("mac", Text, nullable=False, comment="HMAC-SM3 by the key store; empty without one"),
)

audit_head: Final = Table(
    "audit_head",
    METADATA,
    Column("number", _INDEX, primary_key=True, autoincrement=False),
    Column("chain", Text, nullable=False),
    Column("idx", _INDEX, nullable=False),
    Column("digest", Text, nullable=False),
    Column("at", Moment, nullable=False),
    Column("previous", Text, nullable=False),
    Column("key_id", Text, nullable=False),
    Column("signature", LargeBinary, nullable=False),
)
