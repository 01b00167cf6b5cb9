"""Make the audit log: entries and signed heads that nothing changes, and the note of where the chain ends."""

from __future__ import annotations

import uuid

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"

_INDEX = sa.BigInteger().with_variant(sa.Integer, "sqlite")
_MOMENT = sa.DateTime(timezone=True)
_APPEND_ONLY = ("audit_entry", "audit_head")


def upgrade() -> None:
    """Make them, and begin a chain of its own."""
    op.create_table(
        "audit_entry",
        sa.Column("idx", _INDEX, primary_key=True, autoincrement=False),
        sa.Column("at", _MOMENT, nullable=False),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("who", sa.Text, nullable=False),
        sa.Column("result", sa.Text, nullable=False),
        sa.Column("source", sa.Text, nullable=False),
        sa.Column("object", sa.Text, nullable=False),
        sa.Column("patient", sa.Text, nullable=False, comment="blind index"),
        sa.Column("payload", sa.Text, nullable=False, comment="digest of the record that lies elsewhere"),
        sa.Column("detail", sa.Text, nullable=False, comment="JSON of codes and numbers"),
        sa.Column("note", sa.LargeBinary, nullable=False, comment="sealed"),
        sa.Column("previous", sa.Text, nullable=False),
        sa.Column("digest", sa.Text, nullable=False),
    )
    op.create_index("ix_audit_entry_at", "audit_entry", ["at"])
    op.create_index("ix_audit_entry_patient", "audit_entry", ["patient"])
    chain = op.create_table(
        "audit_chain",
        sa.Column(
            "singleton", sa.Integer, sa.CheckConstraint("singleton = 1", name="ck_audit_chain_singleton")
        ),
        sa.Column("chain", sa.Text, nullable=False, comment="id of the chain"),
        sa.Column("idx", _INDEX, nullable=False, comment="of the last entry"),
        sa.Column("digest", sa.Text, nullable=False),
        sa.Column("mac", sa.Text, nullable=False, comment="HMAC-SM3 by the key store; empty without one"),
        sa.PrimaryKeyConstraint("singleton", name="pk_audit_chain"),
    )
    op.bulk_insert(chain, [{"singleton": 1, "chain": str(uuid.uuid4()), "idx": 0, "digest": "", "mac": ""}])
    op.create_table(
        "audit_head",
        sa.Column("number", _INDEX, primary_key=True, autoincrement=False),
        sa.Column("chain", sa.Text, nullable=False),
        sa.Column("idx", _INDEX, nullable=False),
        sa.Column("digest", sa.Text, nullable=False),
        sa.Column("at", _MOMENT, nullable=False),
        sa.Column("previous", sa.Text, nullable=False),
        sa.Column("key_id", sa.Text, nullable=False),
        sa.Column("signature", sa.LargeBinary, nullable=False),
    )
    if op.get_bind().dialect.name == "postgresql":
        _refuse_in_postgresql()
    else:
        _refuse_in_sqlite()


def downgrade() -> None:
    """Drop them, with all that they hold."""
    for table in ("audit_head", "audit_chain", "audit_entry"):
        op.drop_table(table)
    if op.get_bind().dialect.name == "postgresql":
        op.execute("DROP FUNCTION audit_refuses()")


def _refuse_in_postgresql() -> None:
    op.execute(
        """
        CREATE FUNCTION audit_refuses() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN RAISE EXCEPTION 'the audit log is append-only: % of % is refused', TG_OP, TG_TABLE_NAME
            USING ERRCODE = 'insufficient_privilege'; END $$
        """
    )
    for table in _APPEND_ONLY:
        op.execute(
            f"CREATE TRIGGER {table}_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON {table}"
            " FOR EACH STATEMENT EXECUTE FUNCTION audit_refuses()"
        )
    op.execute(
        "CREATE TRIGGER audit_chain_stays BEFORE DELETE OR TRUNCATE ON audit_chain"
        " FOR EACH STATEMENT EXECUTE FUNCTION audit_refuses()"
    )


def _refuse_in_sqlite() -> None:
    for table, operations in (
        *((table, ("UPDATE", "DELETE")) for table in _APPEND_ONLY),
        ("audit_chain", ("DELETE",)),
    ):
        for operation in operations:
            op.execute(
                f"CREATE TRIGGER {table}_no_{operation.lower()} BEFORE {operation} ON {table} BEGIN"
                f" SELECT RAISE(ABORT, 'the audit log is append-only: {operation} of {table} is refused');"
                " END"
            )
    # REPLACE deletes without asking triggers, unless recursive ones are on.
    op.execute(
        "CREATE TRIGGER audit_entry_no_replace BEFORE INSERT ON audit_entry"
        " WHEN EXISTS (SELECT 1 FROM audit_entry WHERE idx = NEW.idx) BEGIN"
        " SELECT RAISE(ABORT, 'the audit log is append-only: REPLACE of audit_entry is refused'); END"
    )
