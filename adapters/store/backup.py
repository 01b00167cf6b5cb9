"""Take the whole database along while the service goes on, and put it back.

SQLite by its backup interface, PostgreSQL by ``pg_dump`` and ``pg_restore`` in their custom format, both of
one state of the database, whose last audit entry the backup's header names.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import os
import shutil
import sqlite3
import subprocess
import tempfile
import uuid
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO, Any, Final

import sqlalchemy as sa
from sqlalchemy.engine import Engine

from adapters.store.audit_reading import reading, standing
from adapters.store.backup_file import Header, read_backup, read_header, write_backup
from adapters.store.database import StoreError, open_database
from adapters.store.sealing import Seal
from engine.audit_verify import Standing

__all__ = ["back_up", "holds_tables", "put_back"]

_PIECE: Final = 1 << 20


def back_up(engine: Engine, path: Path, seal: Seal, *, at: dt.datetime) -> tuple[Header, str]:
    """Write a backup of what is committed now; return its header and the SM3 digest of its file."""
    take = _from_postgresql if engine.dialect.name == "postgresql" else _from_sqlite
    with take(engine, path.parent) as (seen, content):
        header = Header(
            id=str(uuid.uuid4()),
            kind=engine.dialect.name,
            made_at=at,
            key=seal.active(),
            chain=seen.chain,
            index=seen.index,
            digest=seen.digest,
        )
        digest = write_backup(path, header, content, seal)
    return header, digest


def holds_tables(engine: Engine) -> bool:
    """Say whether there is anything that a restore would replace."""
    if engine.dialect.name == "sqlite" and not Path(str(engine.url.database)).exists():
        return False
    return bool(sa.inspect(engine).get_table_names())


def put_back(engine: Engine, path: Path, seal: Seal) -> Header:
    """Replace the whole database by a backup; nothing may use it meanwhile.

    The file is read through once before anything is touched. Raises ``StoreError`` for a backup of the other
    kind of database, one that was altered, or one whose content is not whole.
    """
    header = read_header(path)
    if header.kind != engine.dialect.name:
        raise StoreError(f"{path} is of {header.kind}, and this database is {engine.dialect.name}.")
    for _ in read_backup(path, seal):
        pass
    if header.kind == "postgresql":
        _into_postgresql(engine, read_backup(path, seal))
    else:
        _into_sqlite(engine, read_backup(path, seal))
    return header


@contextlib.contextmanager
def _from_sqlite(engine: Engine, folder: Path) -> Iterator[tuple[Standing, Iterator[bytes]]]:
    with tempfile.TemporaryDirectory(prefix=".backup-", dir=folder) as made:
        copy = Path(made) / "ruleward.db"
        with engine.connect() as connection:
            source: Any = connection.connection.dbapi_connection
            # All pages in one step: a copy in steps begins anew whenever somebody writes.
            with contextlib.closing(sqlite3.connect(copy)) as target:
                source.backup(target)
        copied = open_database(f"sqlite:///{copy}", patience=5.0)
        try:
            with reading(copied) as connection:
                seen = standing(connection)
        finally:
            copied.dispose()
        yield seen, _pieces(copy)


@contextlib.contextmanager
def _from_postgresql(engine: Engine, _folder: Path) -> Iterator[tuple[Standing, Iterator[bytes]]]:
    with reading(engine) as connection:
        seen = standing(connection)
        snapshot = connection.execute(sa.text("SELECT pg_export_snapshot()")).scalar_one()
        words = ("--format=custom", "--no-owner", "--no-privileges", f"--snapshot={snapshot}")
        yield seen, _dumped([_program("pg_dump"), *words, *_where(engine)], _environment(engine))


def _into_sqlite(engine: Engine, content: Iterable[bytes]) -> None:
    database = Path(str(engine.url.database))
    database.parent.mkdir(parents=True, exist_ok=True)
    partial = database.with_name(f".{database.name}.restoring")
    try:
        with partial.open("wb") as out:
            for piece in content:
                out.write(piece)
            out.flush()
            os.fsync(out.fileno())
        with contextlib.closing(sqlite3.connect(partial)) as connection:
            if connection.execute("PRAGMA integrity_check").fetchone() != ("ok",):
                raise StoreError("The backup holds a damaged database. Bring another.")
        engine.dispose()
        # The log of the database that goes must not be read into the one that comes.
        for left in ("-wal", "-shm"):
            database.with_name(database.name + left).unlink(missing_ok=True)
        partial.replace(database)
        _sync(database.parent)
    finally:
        for left in ("", "-wal", "-shm"):
            partial.with_name(partial.name + left).unlink(missing_ok=True)


def _into_postgresql(engine: Engine, content: Iterable[bytes]) -> None:
    with engine.begin() as connection:
        schema = connection.execute(sa.text("SELECT current_schema()")).scalar_one()
        connection.execute(sa.text(f'DROP SCHEMA "{schema}" CASCADE'))
        connection.execute(sa.text(f'CREATE SCHEMA "{schema}"'))
    words = ["--single-transaction", "--exit-on-error", "--no-owner", "--no-privileges"]
    with tempfile.TemporaryFile() as said:
        process = subprocess.Popen(
            [_program("pg_restore"), *words, *_where(engine)],
            stdin=subprocess.PIPE,
            stderr=said,
            env=_environment(engine),
        )
        with process, contextlib.suppress(BrokenPipeError):
            assert process.stdin is not None
            for piece in content:
                process.stdin.write(piece)
        if process.returncode:
            raise StoreError(f"pg_restore failed: {_words(said)}")


def _dumped(command: list[str], environment: dict[str, str]) -> Iterator[bytes]:
    with tempfile.TemporaryFile() as said:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=said, env=environment)
        with process:
            assert process.stdout is not None
            while piece := process.stdout.read(_PIECE):
                yield piece
        if process.returncode:
            raise StoreError(f"pg_dump failed: {_words(said)}")


def _words(file: IO[bytes]) -> str:
    file.seek(0)
    return file.read(1000).decode(errors="replace").strip()


def _program(name: str) -> str:
    """Find a program of PostgreSQL: the newest installed, as an older one refuses a newer server."""
    found = sorted(
        Path("/usr/lib/postgresql").glob(f"*/bin/{name}"), key=lambda path: int(path.parts[4].split(".")[0])
    )
    program = str(found[-1]) if found else shutil.which(name)
    if program is None:
        raise StoreError(f"{name} is not installed. On Debian: apt-get install postgresql-client.")
    return program


def _where(engine: Engine) -> list[str]:
    """Say which database, without the password: other users see a command line."""
    url = engine.url.set(drivername="postgresql", password=None)
    return [f"--dbname={url.render_as_string(hide_password=False)}"]


def _environment(engine: Engine) -> dict[str, str]:
    password = engine.url.password
    return {**os.environ, **({"PGPASSWORD": str(password)} if password else {})}


def _pieces(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while piece := file.read(_PIECE):
            yield piece


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
