"""Partition the decision log by month in PostgreSQL, its keys in a table of their own; SQLite stays as it is.

A unique key of a partitioned table must hold the partition's column, and a retry comes with the same key
at another time. So the keys stand in ``decision_key``, and a trigger leaves out the row whose key is there.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"

_FUNCTIONS = """
CREATE FUNCTION decision_month(month date) RETURNS boolean LANGUAGE plpgsql AS $$
DECLARE
    start timestamptz := date_trunc('month', month::timestamp) AT TIME ZONE 'UTC';
    after timestamptz := (date_trunc('month', month::timestamp) + interval '1 month') AT TIME ZONE 'UTC';
    name text := 'decision_' || to_char(month, 'YYYY_MM');
BEGIN
    PERFORM pg_advisory_xact_lock(hashtext('ruleward decision_month'));
    IF to_regclass(name) IS NOT NULL THEN RETURN false; END IF;
    EXECUTE format('CREATE TABLE %I (LIKE decision INCLUDING DEFAULTS INCLUDING COMMENTS)', name);
    -- What came before its month was made went into the rest; PostgreSQL refuses a month with rows there.
    EXECUTE format('WITH moved AS (DELETE FROM decision_rest WHERE at >= %L AND at < %L RETURNING *)'
        ' INSERT INTO %I SELECT * FROM moved', start, after, name);
    EXECUTE format('ALTER TABLE decision ATTACH PARTITION %I'
        ' FOR VALUES FROM (%L) TO (%L)', name, start, after);
    RETURN true;
END $$;
CREATE FUNCTION decision_once() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO decision_key (key, id, at) VALUES (NEW.key, NEW.id, NEW.at) ON CONFLICT (key) DO NOTHING;
    IF FOUND THEN RETURN NEW; END IF;
    RETURN NULL;
END $$;
"""


def upgrade() -> None:
    """Move all rows into the partitions of their months; three months more stand ready."""
    if op.get_bind().dialect.name != "postgresql":
        return
    indexes = _free_the_names("decision", "decision_before")
    op.execute(
        "CREATE TABLE decision (LIKE decision_before INCLUDING DEFAULTS INCLUDING COMMENTS)"
        " PARTITION BY RANGE (at)"
    )
    op.execute("CREATE TABLE decision_rest PARTITION OF decision DEFAULT")
    op.create_table(
        "decision_key",
        sa.Column("key", sa.Text, primary_key=True),
        sa.Column("id", sa.Text, nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.UniqueConstraint("id", name="uq_decision_key_id"),
    )
    op.execute(_FUNCTIONS)
    op.execute(
        "SELECT decision_month(month::date) FROM ("
        "SELECT DISTINCT date_trunc('month', at AT TIME ZONE 'UTC') AS month FROM decision_before"
        " UNION SELECT date_trunc('month', now() AT TIME ZONE 'UTC') + ahead * interval '1 month'"
        " FROM generate_series(0, 3) AS ahead) AS months"
    )
    op.execute("INSERT INTO decision_key SELECT key, id, at FROM decision_before")
    op.execute("INSERT INTO decision SELECT * FROM decision_before")
    op.execute("DROP TABLE decision_before")
    op.execute("ALTER TABLE decision ADD CONSTRAINT pk_decision PRIMARY KEY (id, at)")
    op.execute("CREATE INDEX ix_decision_key_at ON decision_key USING brin (at)")
    for name, columns in indexes:
        op.create_index(name, "decision", columns)
    op.execute(
        "CREATE TRIGGER decision_once BEFORE INSERT ON decision FOR EACH ROW EXECUTE FUNCTION decision_once()"
    )


def downgrade() -> None:
    """Move all rows back into one table, whose key is unique by itself."""
    if op.get_bind().dialect.name != "postgresql":
        return
    indexes = _free_the_names("decision", "decision_parted")
    op.execute("CREATE TABLE decision (LIKE decision_parted INCLUDING DEFAULTS INCLUDING COMMENTS)")
    op.execute("INSERT INTO decision SELECT * FROM decision_parted")
    op.execute("DROP TABLE decision_parted")
    op.execute("DROP TABLE decision_key")
    op.execute("DROP FUNCTION decision_once()")
    op.execute("DROP FUNCTION decision_month(date)")
    op.execute("ALTER TABLE decision ADD CONSTRAINT pk_decision PRIMARY KEY (id)")
    op.execute("ALTER TABLE decision ADD CONSTRAINT uq_decision_key UNIQUE (key)")
    for name, columns in indexes:
        op.create_index(name, "decision", columns)


def _free_the_names(table: str, other: str) -> list[tuple[str, list[str]]]:
    """Rename the table, drop its indexes, and return those that the next table needs too."""
    inspector = sa.inspect(op.get_bind())
    kept = [
        (str(index["name"]), [str(column) for column in index["column_names"]])
        for index in inspector.get_indexes(table)
        if not index["unique"]
    ]
    for unique in inspector.get_unique_constraints(table):
        op.drop_constraint(str(unique["name"]), table)
    op.drop_constraint(f"pk_{table}", table)
    for name, _ in kept:
        op.drop_index(name, table)
    op.rename_table(table, other)
    return kept
