"""Keep what must last, in SQLite or PostgreSQL: decisions, releases, accounts and what each worker runs."""

from adapters.store import identity_tables as identity_tables  # so that METADATA is whole, whoever asks first
