"""The tables come and go by migrations, from several workers at once, in both databases."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy.engine import Engine

from adapters.store.database import StoreError, downgrade, open_database, upgrade
from adapters.store.decisions import StoredDecisions, get_decision, writing_connection
from adapters.store.months import compared
from adapters.store.tables import METADATA
from engine.ports import Entry


def test_the_migrations_make_exactly_the_tables_that_the_code_names(database: Engine) -> None:
    with database.connect() as connection:
        context = MigrationContext.configure(connection, opts={"include_object": compared})
        assert compare_metadata(context, METADATA) == []


async def test_what_is_stored_survives_a_second_upgrade_and_goes_with_a_downgrade(
    database: Engine, entry: Callable[..., Entry]
) -> None:
    log = StoredDecisions(database, connect=writing_connection(database))
    one = entry()
    await log.append(one)
    await log.close()

    upgrade(database)
    assert get_decision(database, one.id) == one

    downgrade(database, "base")
    assert set(sa.inspect(database).get_table_names()) == {"alembic_version"}

    upgrade(database)
    assert get_decision(database, one.id) is None


def test_several_workers_may_upgrade_an_empty_database_at_once(empty_url: str, processes: Any) -> None:
    workers = processes(empty_url, "upgrade")
    workers.start(4)
    said, codes = workers.until_ended()
    assert codes == [0] * 4, workers.close()
    assert said == ["upgraded"] * 4


def test_a_database_of_a_newer_ruleward_is_refused_with_what_to_do(database: Engine) -> None:
    with database.begin() as connection:
        connection.execute(sa.text("UPDATE alembic_version SET version_num = '9999'"))
    with pytest.raises(StoreError, match="run that one, or restore a backup"):
        upgrade(database)


def test_sqlite_writes_ahead_and_syncs_every_commit(sqlite_url: str) -> None:
    engine = open_database(sqlite_url, patience=1.0)
    with engine.connect() as connection:
        assert connection.exec_driver_sql("PRAGMA journal_mode").scalar_one() == "wal"
        assert connection.exec_driver_sql("PRAGMA synchronous").scalar_one() == 2  # FULL
        assert connection.exec_driver_sql("PRAGMA foreign_keys").scalar_one() == 1
    engine.dispose()


@pytest.mark.postgresql
def test_postgresql_commits_durably_even_where_the_role_says_otherwise(
    postgres: Any,
) -> None:
    engine = open_database(postgres.new_database(), patience=1.0)
    with engine.begin() as connection:
        connection.execute(sa.text(f'ALTER DATABASE "{engine.url.database}" SET synchronous_commit = off'))
    engine.dispose()
    with engine.connect() as connection:
        assert connection.execute(sa.text("SHOW synchronous_commit")).scalar_one() == "on"
    engine.dispose()


@pytest.mark.parametrize("url", ["sqlite://", "sqlite:///:memory:", "mysql://host/name", "not a url"])
def test_a_url_that_cannot_keep_decisions_is_refused_with_what_to_write(url: str) -> None:
    with pytest.raises(StoreError, match="Write sqlite:////path"):
        open_database(url, patience=1.0)
