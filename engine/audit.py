"""Say what the audit log holds and how its entries are chained, so that nothing can be changed unseen.

An entry's digest covers the digest of the entry before it and the canonical form (RFC 8785) of all that the
entry says, its index too. Heads, signed now and then, fix the chain up to an index; a copy of each head
lies with a witness outside. :mod:`engine.audit_verify` reads a chain against them.
"""

from __future__ import annotations

import datetime as dt
import enum
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Final, Protocol

import msgspec

from engine.ports import Digest, Entry, FeedbackEntry

__all__ = [
    "AuditLog",
    "Blind",
    "Event",
    "Head",
    "Kind",
    "Link",
    "Result",
    "SignedHead",
    "chained",
    "check_event",
    "event",
    "feedback_event",
    "head_content",
    "link_digest",
    "payload_of",
    "root_of",
]

Blind = Callable[[str], str]
"""Turn a patient's id into what stands for it: equal for equal ids, else telling nothing."""


class Kind(enum.StrEnum):
    """What happened (GB/T 22239 8.1.4.3 and what a hospital must show)."""

    START = "start"
    STOP = "stop"
    LOGIN = "login"
    LOGIN_FAILED = "login_failed"
    LOGOUT = "logout"
    ACCESS_DENIED = "access_denied"
    BREAK_GLASS = "break_glass"
    BREAK_GLASS_REVIEW = "break_glass_review"
    PERMISSION_CHANGE = "permission_change"
    CONFIGURATION = "configuration"
    KEY_CHANGE = "key_change"
    RULE_CREATE = "rule_create"
    RULE_APPROVE = "rule_approve"
    RULE_ACTIVATE = "rule_activate"
    RULE_REFUSE = "rule_refuse"
    RULE_ROLLBACK = "rule_rollback"
    CHECK = "check"
    FEEDBACK = "feedback"
    OVERRIDE = "override"
    VIEW = "view"
    SEARCH = "search"
    EXPORT = "export"
    SIGNATURE = "signature"
    DISPENSING = "dispensing"
    ADAPTER_CALL = "adapter_call"
    ADAPTER_FAILURE = "adapter_failure"
    CLOCK_JUMP = "clock_jump"
    CHAIN_BROKEN = "chain_broken"
    BACKUP = "backup"
    RESTORE = "restore"
    ARCHIVE = "archive"


class Result(enum.StrEnum):
    """How it ended."""

    SUCCESS = "success"
    DENIED = "denied"
    FAILURE = "failure"


class Event(msgspec.Struct, frozen=True, kw_only=True):
    """Who did what, when, from where, with which result; never a name. Made by :func:`event`."""

    kind: Kind
    at: dt.datetime  # with a zone
    who: str  # an account's id, or "system"
    result: Result = Result.SUCCESS
    source: str = ""  # where from: address, interface, process
    object: str = ""  # what it was done to: "decision/4f…", "release/sm3:…"
    patient: str = ""  # blind index, never the id
    payload: str = ""  # digest of the whole record, which lies elsewhere
    detail: str = ""  # JSON of plain numbers and codes
    note: bytes = b""  # free text, sealed


class Link(msgspec.Struct, frozen=True):
    """One entry of the chain as it is stored."""

    index: int  # from 1, without gaps
    previous: str
    digest: str
    event: Event


class Head(msgspec.Struct, frozen=True, kw_only=True):
    """The chain up to ``index``, as it stood when this was signed; heads are numbered and chained too."""

    chain: str
    number: int  # from 1, without gaps
    index: int
    digest: str
    at: dt.datetime
    previous: str = ""  # digest of the content of the head before


class SignedHead(msgspec.Struct, frozen=True):
    """A head with its signature."""

    head: Head
    key_id: str
    signature: bytes


class AuditLog(Protocol):
    """Keep events. ``record`` returns only when they are durable, else raises ``NotRecorded``."""

    async def record(self, *events: Event) -> None: ...


class _Canonical(msgspec.Struct):
    """What an entry's digest covers; names in alphabetical order, as RFC 8785 wants them."""

    at: str
    detail: str
    index: int
    kind: str
    note: str
    object: str
    patient: str
    payload: str
    result: str
    source: str
    who: str


# fmt: off
_DETAIL: Final = frozenset({
    "attempts", "backup_at", "backup_index", "cards", "count", "department", "digest", "entries",
    "event", "facts", "file_digest", "files", "findings", "format", "index", "interface", "key_id",
    "method", "microseconds", "minutes", "month", "not_checked", "number", "operation", "outcome",
    "permission", "problems", "reason_code", "release", "role", "rows", "scope", "seconds", "service",
    "stage", "status", "system", "to", "until", "version", "witness",
})
# fmt: on
_LONGEST: Final = 256
_ENCODE: Final = msgspec.json.Encoder().encode
_SORTED: Final = msgspec.json.Encoder(order="deterministic").encode


def event(  # noqa: PLR0913 - each is a different question that an auditor asks
    kind: Kind,
    *,
    at: dt.datetime,
    who: str,
    result: Result = Result.SUCCESS,
    source: str = "",
    object: str = "",
    patient: str = "",
    payload: str = "",
    detail: Mapping[str, str | int] | None = None,
    note: bytes = b"",
) -> Event:
    """Return an event whose detail holds only words that are known to be nobody's data.

    ``patient`` is a blind index and ``note`` is sealed: the caller sees to both. Raises ``ValueError`` for a
    time without a zone, an unknown word, or a value longer than 256 characters.
    """
    if at.tzinfo is None:
        raise ValueError("the event's time has no zone")
    for name, value in (detail or {}).items():
        if name not in _DETAIL:
            raise ValueError(
                f"{name} is no word that an audit entry may hold; free text goes sealed into note"
            )
        if isinstance(value, str) and len(value) > _LONGEST:
            raise ValueError(f"{name} is longer than {_LONGEST} characters")
    return Event(
        kind=kind,
        at=at,
        who=who,
        result=result,
        source=source,
        object=object,
        patient=patient,
        payload=payload,
        detail=_SORTED(detail).decode() if detail else "",
        note=note,
    )


def check_event(entry: Entry, digest: Digest, blind: Blind) -> Event:
    """Return the event of one decision: digest of the facts, release, hits, latency; its row by a digest."""
    detail: dict[str, str | int] = {
        "facts": entry.facts_digest,
        "findings": entry.findings,
        "interface": entry.interface,
        "not_checked": entry.not_checked,
        "release": entry.release,
        "stage": entry.stage,
        "status": entry.status,
    }
    if entry.microseconds:
        detail["microseconds"] = entry.microseconds
    return Event(
        kind=Kind.CHECK,
        at=entry.at,
        who=entry.who,
        source=entry.source,
        object=f"decision/{entry.id}",
        patient=blind(entry.patient) if entry.patient else "",
        payload=digest(payload_of(entry)),
        detail=_SORTED(detail).decode(),
    )


def feedback_event(entry: FeedbackEntry, digest: Digest) -> Event:
    """Return the event of one feedback; the reason in free text is covered by the digest only."""
    return event(
        Kind.OVERRIDE if entry.outcome == "overridden" else Kind.FEEDBACK,
        at=entry.outcome_at,
        who=entry.who,
        source=entry.source,
        object=f"card/{entry.card}"[:_LONGEST],
        payload=digest(_ENCODE(msgspec.structs.replace(entry, who="", source=""))),
        detail={
            "outcome": entry.outcome[:_LONGEST],
            "reason_code": entry.reason_code[:_LONGEST],
            "service": entry.service[:_LONGEST],
        },
    )


def payload_of(entry: Entry) -> bytes:
    """Return what the digest of a decision covers: all that its row says, however the row is sealed."""
    head = _ENCODE(
        (
            entry.id,
            entry.key,
            entry.request_digest,
            entry.interface,
            entry.stage,
            entry.at.isoformat(),
            entry.release,
            entry.facts_digest,
            entry.status,
            entry.findings,
            entry.not_checked,
            entry.cards,
            entry.patient,
            len(entry.trace),
            # Decisions from before they had a place keep their digests.
            *((entry.site, entry.department) if entry.site or entry.department else ()),
        )
    )
    # The bulk as it is: the lengths in front say where each part ends, and SM3 costs 5 µs a kilobyte.
    return b"\n".join((head, entry.trace, entry.answer))


def root_of(chain: str, digest: Digest) -> str:
    """Return what stands before the first entry of the chain with this id."""
    return digest(f"ruleward audit chain {chain}".encode())


def link_digest(previous: str, index: int, event: Event, digest: Digest) -> str:
    """Return the digest of an entry: SM3(digest of the one before ‖ canonical entry)."""
    canonical = _Canonical(
        at=_moment(event.at),
        detail=event.detail,
        index=index,
        kind=event.kind,
        note=event.note.hex(),
        object=event.object,
        patient=event.patient,
        payload=event.payload,
        result=event.result,
        source=event.source,
        who=event.who,
    )
    return digest(previous.encode() + _ENCODE(canonical))


def chained(previous: str, index: int, events: Iterable[Event], digest: Digest) -> Iterator[Link]:
    """Chain events to the entry ``index`` that has the digest ``previous``."""
    for one in events:
        index += 1
        own = link_digest(previous, index, one, digest)
        yield Link(index, previous, own, one)
        previous = own


def head_content(head: Head) -> bytes:
    """Return what is signed: the canonical form (RFC 8785) of a head."""
    return _SORTED({**msgspec.structs.asdict(head), "at": _moment(head.at)})


def _moment(at: dt.datetime) -> str:
    return at.astimezone(dt.UTC).isoformat(timespec="microseconds")
