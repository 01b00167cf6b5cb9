"""Alembic migrations, run by :func:`adapters.store.database.upgrade`; there is no alembic.ini to find."""
