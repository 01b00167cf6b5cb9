"""Run the migrations on the connection that :func:`adapters.store.database.upgrade` hands over."""

from __future__ import annotations

from alembic import context
from sqlalchemy import Connection

from adapters.store.tables import METADATA

connection = context.config.attributes["connection"]
if not isinstance(connection, Connection):
    raise TypeError("Migrations run through adapters.store.database.upgrade, which brings the connection.")

# The caller holds the transaction and the lock, so that several workers may start at once.
context.configure(
    connection=connection, target_metadata=METADATA, transactional_ddl=True, render_as_batch=True
)
with context.begin_transaction():
    context.run_migrations()
