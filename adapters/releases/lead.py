"""Hold the right to publish: of several services on one database, one publishes and the others stand by."""

from __future__ import annotations

import fcntl
import logging
import os
from pathlib import Path

import sqlalchemy as sa

__all__ = ["Lead"]

_LOG = logging.getLogger("ruleward.releases")
# Any fixed number will do, as long as no other program locks the same one in this database.
_KEY = 0x52756C655075626C


class Lead:
    """The right to publish into one database: a lock that ends with the process or connection that holds it.

    PostgreSQL: an advisory lock of a session of its own. SQLite: a lock on a file beside the database.
    """

    def __init__(self, engine: sa.Engine) -> None:
        self._engine = engine
        self._session: sa.Connection | None = None
        self._file: int | None = None

    def take(self) -> bool:
        """Return whether we hold it now; raises ``SQLAlchemyError`` or ``OSError`` if nobody can tell."""
        if self._engine.dialect.name == "postgresql":
            return self._take_session()
        return self._take_file()

    def give_up(self) -> None:
        """Let another service publish."""
        session, self._session = self._session, None
        file, self._file = self._file, None
        if session is not None:
            session.invalidate()  # the lock belongs to the connection: it must not go back into the pool
            session.close()
        if file is not None:
            os.close(file)

    def _take_session(self) -> bool:
        if self._session is not None:
            try:
                self._session.execute(sa.text("SELECT 1"))
            except sa.exc.SQLAlchemyError:
                self.give_up()  # the lock went with the connection
                raise
            return True
        session = self._engine.connect().execution_options(isolation_level="AUTOCOMMIT")
        try:
            held = session.execute(sa.text("SELECT pg_try_advisory_lock(:key)"), {"key": _KEY}).scalar_one()
        except BaseException:
            session.close()
            raise
        if held:
            self._session = session
        else:
            session.close()
        return bool(held)

    def _take_file(self) -> bool:
        if self._file is not None:
            return True
        path = Path(f"{self._engine.url.database}.publisher")
        file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(file)
            return False
        except BaseException:
            os.close(file)
            raise
        self._file = file
        return True
