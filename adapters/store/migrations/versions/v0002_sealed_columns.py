"""Make room for sealed values: bytes for patient and comment, the key's id, and the patient's blind index.

Going forward needs no key: what stands there stays as it is, marked by an empty ``seal_key``, until
``ruleward keys reseal`` seals it. Going back opens what is sealed, and so needs the keys.
"""

from __future__ import annotations

import datetime as dt
from typing import Any

import sqlalchemy as sa
from alembic import context, op

from adapters.store.database import StoreError

revision = "0002"
down_revision = "0001"

_STEP = 200  # rows held in memory at once


def upgrade() -> None:
    """Add the columns; text becomes its UTF-8 bytes."""
    with op.batch_alter_table("decision") as decision:
        decision.alter_column(
            "patient",
            type_=sa.LargeBinary,
            existing_type=sa.Text,
            existing_nullable=False,
            comment="sealed; the caller's id, never a name",
            existing_comment="the caller's id, never a name",
            postgresql_using="convert_to(patient, 'UTF8')",
        )
        decision.add_column(
            sa.Column(
                "patient_blind",
                sa.Text,
                nullable=False,
                server_default="",
                comment="equal for equal patients",
            )
        )
        decision.add_column(
            sa.Column("seal_key", sa.Text, nullable=False, server_default="", comment="empty: not sealed")
        )
    op.create_index("ix_decision_patient_blind", "decision", ["patient_blind"])
    with op.batch_alter_table("feedback", table_kwargs={"sqlite_autoincrement": True}) as feedback:
        feedback.alter_column(
            "comment",
            type_=sa.LargeBinary,
            existing_type=sa.Text,
            existing_nullable=False,
            comment="sealed",
            postgresql_using="convert_to(comment, 'UTF8')",
        )
        feedback.add_column(
            sa.Column("seal_key", sa.Text, nullable=False, server_default="", comment="empty: not sealed")
        )


def downgrade() -> None:
    """Open every sealed value and take the columns away."""
    _open_decisions()
    _open_feedback()
    op.drop_index("ix_decision_patient_blind", "decision")
    with op.batch_alter_table("decision") as decision:
        decision.drop_column("patient_blind")
        decision.drop_column("seal_key")
        decision.alter_column(
            "patient",
            type_=sa.Text,
            existing_type=sa.LargeBinary,
            existing_nullable=False,
            comment="the caller's id, never a name",
            existing_comment="sealed; the caller's id, never a name",
            postgresql_using="convert_from(patient, 'UTF8')",
        )
    with op.batch_alter_table("feedback", table_kwargs={"sqlite_autoincrement": True}) as feedback:
        feedback.drop_column("seal_key")
        feedback.alter_column(
            "comment",
            type_=sa.Text,
            existing_type=sa.LargeBinary,
            existing_nullable=False,
            comment=None,
            existing_comment="sealed",
            postgresql_using="convert_from(comment, 'UTF8')",
        )


def _open_decisions() -> None:
    table = _table("decision", "id", "trace", "answer", "patient", "seal_key")
    for row in _sealed(table, table.c.id, ""):
        values = {
            name: _opened(row[name], f"decision/{name}/{row['id']}")
            for name in ("trace", "answer", "patient")
        }
        op.get_bind().execute(sa.update(table).where(table.c.id == row["id"]).values(seal_key="", **values))


def _open_feedback() -> None:
    at = sa.column("outcome_at", sa.DateTime(timezone=True))
    table = _table("feedback", "seq", "card", "outcome", "comment", "seal_key")
    table.append_column(at)
    for row in _sealed(table, table.c.seq, 0):
        moment: dt.datetime = row["outcome_at"]
        if moment.tzinfo is not None:
            moment = moment.astimezone(dt.UTC).replace(tzinfo=None)
        place = f"feedback/comment/{row['card']}/{row['outcome']}/{moment.isoformat(' ', 'microseconds')}"
        change = sa.update(table).where(table.c.seq == row["seq"])
        op.get_bind().execute(change.values(seal_key="", comment=_opened(row["comment"], place)))


def _table(name: str, *columns: str) -> sa.TableClause:
    return sa.table(name, *(sa.column(column) for column in columns))


def _sealed(table: sa.TableClause, key: sa.ColumnClause[Any], last: object) -> Any:
    """Give the sealed rows in the order of ``key``, some at a time."""
    while True:
        query = sa.select(table).where(key > last, table.c.seal_key != "").order_by(key).limit(_STEP)
        rows = op.get_bind().execute(query).mappings().all()
        if not rows:
            return
        yield from rows
        last = rows[-1][key.name]


def _opened(value: bytes, place: str) -> bytes:
    seal = context.config.attributes.get("seal")
    if seal is None:
        raise StoreError("Rows are sealed: going back opens them, so bring the keys of the service.")
    content: bytes = seal.open(bytes(value), place.encode(errors="surrogatepass"))
    return content
