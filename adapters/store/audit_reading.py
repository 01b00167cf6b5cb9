"""Read the audit log: search it, stream it for verification, sign its head."""

from __future__ import annotations

import datetime as dt
import hmac
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

import msgspec
import sqlalchemy as sa
from sqlalchemy.engine import Connection, Engine

from adapters.store.audit_ledger import chain_mac
from adapters.store.audit_tables import audit_chain, audit_entry, audit_head
from adapters.store.database import StoreError, writing
from adapters.store.rows import entry_of
from adapters.store.sealing import PLAIN, Seal
from adapters.store.tables import decision
from engine.audit import Event, Head, Kind, Link, Result, SignedHead, head_content, payload_of
from engine.audit_verify import Fault, Standing, Wrong
from engine.ports import Digest, Signer

__all__ = [
    "Sought",
    "altered_decisions",
    "archived_before",
    "heads",
    "latest_head",
    "links",
    "reading",
    "search",
    "sign_head",
    "standing",
]

_PAGE: Final = 500
_STREAMED: Final = {"yield_per": 2000}


@contextmanager
def reading(engine: Engine) -> Iterator[Connection]:
    """Give a connection that sees one state of the database throughout, while others go on writing."""
    steady = engine
    if engine.dialect.name == "postgresql":
        steady = engine.execution_options(isolation_level="REPEATABLE READ")
    with steady.connect() as connection, connection.begin():
        yield connection


def standing(connection: Connection, seal: Seal = PLAIN) -> Standing:
    """Return where the chain ends and whether our keys vouch for that; ``StoreError`` if that is lost."""
    row = connection.execute(sa.select(audit_chain)).one_or_none()
    if row is None:
        raise StoreError("The audit log has lost the note of where its chain ends. Restore a backup.")
    expected = chain_mac(seal, row.chain, row.idx, row.digest)
    genuine = not expected or not row.idx or hmac.compare_digest(expected, row.mac)
    return Standing(row.chain, row.idx, row.digest, genuine)


def links(connection: Connection, *, after: int = 0) -> Iterator[Link]:
    """Stream the entries with a higher index than ``after``, by index."""
    query = sa.select(audit_entry).where(audit_entry.c.idx > after).order_by(audit_entry.c.idx)
    result = connection.execute(query, execution_options=_STREAMED)
    for row in result:
        yield _link(row)


def heads(connection: Connection, *, after: int = 0) -> list[SignedHead]:
    """Return the signed heads by number."""
    query = sa.select(audit_head).where(audit_head.c.number > after).order_by(audit_head.c.number)
    return [_head(row) for row in connection.execute(query)]


def latest_head(connection: Connection) -> SignedHead | None:
    """Return the newest signed head, None before the first."""
    row = connection.execute(
        sa.select(audit_head).order_by(audit_head.c.number.desc()).limit(1)
    ).one_or_none()
    return None if row is None else _head(row)


def sign_head(
    engine: Engine, signer: Signer, digest: Digest, at: dt.datetime, seen: Standing, before: SignedHead | None
) -> SignedHead | None:
    """Sign the chain up to ``seen``, which the caller has verified, and keep the head.

    ``before`` is the newest head until now. Returns None when another process signed meanwhile.
    """
    head = Head(
        chain=seen.chain,
        number=before.head.number + 1 if before else 1,
        index=seen.index,
        digest=seen.digest,
        at=at,
        previous=digest(head_content(before.head)) if before else "",
    )
    key_id, signature = signer.sign(head_content(head))
    with writing(engine) as connection:
        latest = latest_head(connection)
        if (latest.head if latest else None) != (before.head if before else None):
            return None
        connection.execute(
            sa.insert(audit_head).values(
                number=head.number,
                chain=head.chain,
                idx=head.index,
                digest=head.digest,
                at=at,
                previous=head.previous,
                key_id=key_id,
                signature=signature,
            )
        )
    return SignedHead(head, key_id, signature)


@dataclass(frozen=True)
class Sought:
    """Which entries; None leaves open. ``since`` is inclusive, ``until`` exclusive, both with a zone."""

    who: str | None = None
    kind: Kind | None = None
    result: Result | None = None
    object: str | None = None
    patient: str | None = None  # blind index
    since: dt.datetime | None = None
    until: dt.datetime | None = None


def search(
    connection: Connection, sought: Sought, *, limit: int | None = None, before: int | None = None
) -> Iterator[Link]:
    """Stream the entries sought, newest first; ``before`` is the index at which the last page ended."""
    query = sa.select(audit_entry).order_by(audit_entry.c.idx.desc())
    for name in ("who", "kind", "result", "object", "patient"):
        value = getattr(sought, name)
        if value is not None:
            query = query.where(audit_entry.c[name] == value)
    if sought.since is not None:
        query = query.where(audit_entry.c.at >= sought.since)
    if sought.until is not None:
        query = query.where(audit_entry.c.at < sought.until)
    if before is not None:
        query = query.where(audit_entry.c.idx < before)
    if limit is not None:
        query = query.limit(limit)
    for row in connection.execute(query, execution_options=_STREAMED):
        yield _link(row)


def archived_before(connection: Connection) -> dt.datetime | None:
    """Return before which moment decisions have been archived, None if none ever were."""
    query = (
        sa.select(audit_entry.c.detail)
        .where(audit_entry.c.kind == Kind.ARCHIVE)
        .order_by(audit_entry.c.idx.desc())
        .limit(1)
    )
    detail = connection.execute(query).scalar_one_or_none()
    return None if detail is None else dt.datetime.fromisoformat(msgspec.json.decode(detail)["until"])


def altered_decisions(
    connection: Connection, digest: Digest, seal: Seal, archived_before: dt.datetime | None
) -> Iterator[Fault]:
    """Compare every decision with what its audit entry says of it, and name those that differ or lack one.

    Decisions made before ``archived_before`` have left the database.
    """
    query = (
        sa.select(audit_entry.c.idx, audit_entry.c.at, audit_entry.c.object, audit_entry.c.payload)
        .where(audit_entry.c.kind == Kind.CHECK)
        .order_by(audit_entry.c.idx)
    )
    last = 0
    while page := connection.execute(query.where(audit_entry.c.idx > last).limit(_PAGE)).all():
        last = page[-1].idx
        wanted = {row.object.removeprefix("decision/"): row for row in page}
        found = connection.execute(sa.select(decision).where(decision.c.id.in_(wanted)))
        yield from _compared(wanted, found.all(), digest, seal, archived_before)
    yield from _without_entry(connection)


def _compared(
    wanted: dict[str, sa.Row[*tuple[Any, ...]]],
    found: Sequence[sa.Row[*tuple[Any, ...]]],
    digest: Digest,
    seal: Seal,
    archived_before: dt.datetime | None,
) -> Iterator[Fault]:
    for row in found:
        entry = entry_of(row, seal)
        stated = wanted.pop(entry.id)
        if digest(payload_of(entry)) != stated.payload:
            what = f"decision {entry.id} is not what entry {stated.idx} recorded"
            yield Fault(stated.idx, stated.idx, Wrong.ALTERED, what)
    for identity, stated in wanted.items():
        if archived_before is None or stated.at >= archived_before:
            what = f"decision {identity}, recorded by entry {stated.idx}, is missing"
            yield Fault(stated.idx, stated.idx, Wrong.MISSING, what)


def _without_entry(connection: Connection) -> Iterator[Fault]:
    first = sa.select(sa.func.min(audit_entry.c.at)).where(audit_entry.c.kind == Kind.CHECK)
    recorded = sa.exists().where(audit_entry.c.object == sa.literal("decision/") + decision.c.id)
    # What was decided before there was an audit log has no entry.
    query = sa.select(decision.c.id).where(decision.c.at >= first.scalar_subquery(), ~recorded)
    for identity in connection.execute(query).scalars():
        yield Fault(0, 0, Wrong.INSERTED, f"decision {identity} stands there without an audit entry")


def _link(row: sa.Row[Any]) -> Link:
    event = Event(
        kind=Kind(row.kind),
        at=row.at,
        who=row.who,
        result=Result(row.result),
        source=row.source,
        object=row.object,
        patient=row.patient,
        payload=row.payload,
        detail=row.detail,
        note=bytes(row.note),
    )
    return Link(row.idx, row.previous, row.digest, event)


def _head(row: sa.Row[Any]) -> SignedHead:
    head = Head(
        chain=row.chain, number=row.number, index=row.idx, digest=row.digest, at=row.at, previous=row.previous
    )
    return SignedHead(head, row.key_id, bytes(row.signature))
