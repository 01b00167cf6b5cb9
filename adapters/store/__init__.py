"""Keep what must last, in SQLite or PostgreSQL: decisions, releases, accounts and what each worker runs."""

# So that METADATA is whole, whoever asks first.
from adapters.store import audit_tables as audit_tables
from adapters.store import identity_tables as identity_tables
