"""Keep releases, announce them, note those that were refused, and what each worker runs."""

from __future__ import annotations

import datetime as dt

import msgspec
import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import Engine

from adapters.store.database import writing
from adapters.store.tables import announcement, rejection, release, worker

__all__ = [
    "Announcement",
    "Problem",
    "Rejection",
    "StoredRelease",
    "WorkerReport",
    "announce",
    "forget_worker",
    "get_release",
    "latest_announcement",
    "latest_rejection",
    "mend_release",
    "put_release",
    "reject",
    "report_worker",
    "workers",
]


class StoredRelease(msgspec.Struct, frozen=True, kw_only=True):
    """A release as it was stored; ``content`` is for the caller to verify against ``digest``."""

    digest: str
    content: bytes
    created_at: dt.datetime
    note: str


class Announcement(msgspec.Struct, frozen=True):
    """The wish that every worker runs ``release``; a higher ``seq`` is a later wish."""

    seq: int
    release: str
    at: dt.datetime


class Problem(msgspec.Struct, frozen=True):
    """One reason for a refusal: the path, what is wrong there, how to mend it."""

    where: str
    what: str
    mend: str = ""


class Rejection(msgspec.Struct, frozen=True):
    """A release that was refused, so that the one before it stays in force."""

    seq: int
    at: dt.datetime
    release: str  # its digest; empty when none could be made
    problems: tuple[Problem, ...]


class WorkerReport(msgspec.Struct, frozen=True):
    """What one worker runs."""

    id: str
    pid: int
    release: str  # digest; empty before the first
    at: dt.datetime


def put_release(engine: Engine, digest: str, content: bytes, *, at: dt.datetime, note: str = "") -> bool:
    """Store a release under its digest and return whether it is new; the first content stays."""
    values = {"digest": digest, "content": content, "created_at": at, "note": note}
    with writing(engine) as connection:
        statement = _insert(engine, release).values(values).on_conflict_do_nothing(index_elements=["digest"])
        # What comes back, not a row count: psycopg gives none where SQLAlchemy asks for the key.
        new = connection.execute(statement.returning(release.c.digest)).scalar_one_or_none()
    return new is not None


def mend_release(engine: Engine, digest: str, content: bytes) -> None:
    """Write a stored release anew, after the caller found that what is stored is not what its digest says."""
    with writing(engine) as connection:
        connection.execute(sa.update(release).where(release.c.digest == digest).values(content=content))


def get_release(engine: Engine, digest: str) -> StoredRelease | None:
    """Return the release with this digest, None if it is not stored."""
    with engine.connect() as connection:
        row = connection.execute(sa.select(release).where(release.c.digest == digest)).one_or_none()
    if row is None:
        return None
    return StoredRelease(
        digest=row.digest, content=bytes(row.content), created_at=row.created_at, note=row.note
    )


def announce(engine: Engine, digest: str, *, at: dt.datetime) -> int:
    """Wish that every worker runs a stored release; return the number of the announcement.

    Raises ``sqlalchemy.exc.IntegrityError`` when the release is not stored.
    """
    with writing(engine) as connection:
        statement = sa.insert(announcement).values(release=digest, at=at).returning(announcement.c.seq)
        seq: int = connection.execute(statement).scalar_one()
    return seq


def latest_announcement(engine: Engine) -> Announcement | None:
    """Return the newest announcement, None before the first."""
    query = sa.select(announcement).order_by(announcement.c.seq.desc()).limit(1)
    with engine.connect() as connection:
        row = connection.execute(query).one_or_none()
    return None if row is None else Announcement(row.seq, row.release, row.at)


def reject(engine: Engine, problems: tuple[Problem, ...], *, at: dt.datetime, digest: str = "") -> int:
    """Note that a release was refused and why; return the number of the note."""
    newest = sa.select(sa.func.coalesce(sa.func.max(announcement.c.seq), 0)).scalar_subquery()
    with writing(engine) as connection:
        statement = (
            sa.insert(rejection)
            .values(after=newest, at=at, release=digest, problems=msgspec.json.encode(problems).decode())
            .returning(rejection.c.seq)
        )
        seq: int = connection.execute(statement).scalar_one()
    return seq


def latest_rejection(engine: Engine) -> Rejection | None:
    """Return the newest refusal, None if a release was announced after it."""
    newest = sa.select(sa.func.coalesce(sa.func.max(announcement.c.seq), 0)).scalar_subquery()
    query = sa.select(rejection).where(rejection.c.after == newest).order_by(rejection.c.seq.desc()).limit(1)
    with engine.connect() as connection:
        row = connection.execute(query).one_or_none()
    if row is None:
        return None
    problems = msgspec.json.decode(row.problems, type=tuple[Problem, ...])
    return Rejection(row.seq, row.at, row.release, problems)


def report_worker(engine: Engine, report: WorkerReport) -> None:
    """Write down what a worker runs now, over what it reported before."""
    values = {"id": report.id, "pid": report.pid, "release": report.release, "at": report.at}
    fresh = {name: value for name, value in values.items() if name != "id"}
    with writing(engine) as connection:
        statement = _insert(engine, worker).values(values)
        connection.execute(statement.on_conflict_do_update(index_elements=["id"], set_=fresh))


def forget_worker(engine: Engine, worker_id: str) -> None:
    """Take a worker off the list, as it ends in good order."""
    with writing(engine) as connection:
        connection.execute(sa.delete(worker).where(worker.c.id == worker_id))


def workers(engine: Engine, *, since: dt.datetime) -> list[WorkerReport]:
    """Return the workers that have reported since then, by id; one that was killed just falls silent."""
    query = sa.select(worker).where(worker.c.at >= since).order_by(worker.c.id)
    with engine.connect() as connection:
        return [WorkerReport(row.id, row.pid, row.release, row.at) for row in connection.execute(query)]


def _insert(engine: Engine, table: sa.Table) -> postgresql.Insert | sqlite.Insert:
    """Return an INSERT that knows ON CONFLICT, which SQLAlchemy has once for each database."""
    return postgresql.insert(table) if engine.dialect.name == "postgresql" else sqlite.insert(table)
