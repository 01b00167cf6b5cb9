"""Keep what must last: decisions, feedback, releases and what each worker runs, in SQLite or PostgreSQL."""
