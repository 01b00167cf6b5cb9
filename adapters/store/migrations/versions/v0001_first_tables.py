"""Make the first tables: decision, feedback, release, announcement, rejection, worker."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None

# Written out, not taken from tables.py: a step stays what it was when the tables move on.
_SEQ = sa.BigInteger().with_variant(sa.Integer, "sqlite")
_MOMENT = sa.DateTime(timezone=True)


def upgrade() -> None:
    """Make them."""
    op.create_table(
        "decision",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("key", sa.Text, nullable=False),
        sa.Column("request_digest", sa.Text, nullable=False),
        sa.Column("interface", sa.Text, nullable=False),
        sa.Column("stage", sa.Text, nullable=False),
        sa.Column("at", _MOMENT, nullable=False),
        sa.Column("at_offset", sa.Integer, nullable=False, comment="seconds east of UTC"),
        sa.Column("release", sa.Text, nullable=False),
        sa.Column("facts_digest", sa.Text, nullable=False),
        sa.Column("status", sa.Text, nullable=False),
        sa.Column("findings", sa.Integer, nullable=False),
        sa.Column("not_checked", sa.Integer, nullable=False),
        sa.Column("trace", sa.LargeBinary, nullable=False),
        sa.Column("answer", sa.LargeBinary, nullable=False),
        sa.Column("cards", sa.Text, nullable=False, comment="JSON list of ids"),
        sa.Column("patient", sa.Text, nullable=False, comment="the caller's id, never a name"),
        sa.UniqueConstraint("key", name="uq_decision_key"),
    )
    op.create_index("ix_decision_at", "decision", ["at"])
    op.create_index("ix_decision_release", "decision", ["release"])
    op.create_table(
        "feedback",
        sa.Column("seq", _SEQ, primary_key=True, autoincrement=True),
        sa.Column("service", sa.Text, nullable=False),
        sa.Column("card", sa.Text, nullable=False),
        sa.Column("outcome", sa.Text, nullable=False),
        sa.Column("outcome_at", _MOMENT, nullable=False),
        sa.Column("accepted_suggestions", sa.Text, nullable=False, comment="JSON list of ids"),
        sa.Column("reason_code", sa.Text, nullable=False),
        sa.Column("reason_system", sa.Text, nullable=False),
        sa.Column("comment", sa.Text, nullable=False),
        sa.UniqueConstraint("card", "outcome", "outcome_at", name="uq_feedback_card_outcome_outcome_at"),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "release",
        sa.Column("digest", sa.Text, primary_key=True),
        sa.Column("content", sa.LargeBinary, nullable=False),
        sa.Column("created_at", _MOMENT, nullable=False),
        sa.Column("note", sa.Text, nullable=False),
    )
    op.create_table(
        "announcement",
        sa.Column("seq", _SEQ, primary_key=True, autoincrement=True),
        sa.Column(
            "release",
            sa.Text,
            sa.ForeignKey("release.digest", name="fk_announcement_release"),
            nullable=False,
        ),
        sa.Column("at", _MOMENT, nullable=False),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "rejection",
        sa.Column("seq", _SEQ, primary_key=True, autoincrement=True),
        sa.Column("after", sa.BigInteger, nullable=False),
        sa.Column("at", _MOMENT, nullable=False),
        sa.Column("release", sa.Text, nullable=False, comment="digest, empty when none could be made"),
        sa.Column("problems", sa.Text, nullable=False, comment="JSON list of where, what, mend"),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "worker",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("pid", sa.Integer, nullable=False),
        sa.Column("release", sa.Text, nullable=False, comment="digest, empty before the first"),
        sa.Column("at", _MOMENT, nullable=False),
    )


def downgrade() -> None:
    """Drop them, with all that they hold."""
    for table in ("worker", "rejection", "announcement", "release", "feedback", "decision"):
        op.drop_table(table)
