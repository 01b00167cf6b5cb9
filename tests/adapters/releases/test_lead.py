"""Of several services on one database, one publishes."""

from __future__ import annotations

import psycopg
import pytest
import sqlalchemy as sa

from adapters.releases.lead import Lead
from adapters.store.database import open_database


def test_only_one_holds_the_lead_and_the_next_gets_it_after(url: str) -> None:
    one, other = open_database(url, patience=2.0), open_database(url, patience=2.0)
    first, second = Lead(one), Lead(other)
    try:
        assert first.take()
        assert first.take()
        assert not second.take()
        first.give_up()
        assert second.take()
        assert not first.take()
    finally:
        first.give_up()
        second.give_up()
        one.dispose()
        other.dispose()


@pytest.mark.postgresql
def test_a_lead_whose_connection_is_cut_is_not_believed_in(postgres: object) -> None:
    url: str = postgres.new_database()  # type: ignore[attr-defined]
    engine = open_database(url, patience=2.0)
    lead, next_one = Lead(engine), Lead(engine)
    try:
        assert lead.take()
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE pid <> pg_backend_pid() AND datname = current_database()"
            )
        with pytest.raises(sa.exc.SQLAlchemyError):
            lead.take()
        assert next_one.take()
        assert not lead.take()
    finally:
        lead.give_up()
        next_one.give_up()
        engine.dispose()
