"""Say of each decision where it belongs: its site, and the department of its visit."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    """Add both columns, empty for what is there; PostgreSQL adds them to every month without writing rows."""
    op.add_column(
        "decision",
        sa.Column("site", sa.Text, nullable=False, server_default="", comment="empty: not known"),
    )
    op.add_column(
        "decision",
        sa.Column(
            "department",
            sa.Text,
            nullable=False,
            server_default="",
            comment="of the visit; decides who reads",
        ),
    )


def downgrade() -> None:
    """Forget both: departments read by emergency access only, and the audit log calls placed rows altered."""
    op.drop_column("decision", "department")
    op.drop_column("decision", "site")
