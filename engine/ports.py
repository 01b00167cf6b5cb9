"""State what the engine and the service want from outside, as protocols that adapters fulfil."""

from __future__ import annotations

import datetime as dt
from typing import Protocol

import msgspec

__all__ = ["Clock", "DecisionLog", "Digest", "Entry", "FeedbackEntry", "Recorded", "Signer"]


class Digest(Protocol):
    """Hash bytes to lower-case hex with the algorithm's name in front: ``sm3:66c7f0f4…``."""

    def __call__(self, content: bytes, /) -> str: ...


class Clock(Protocol):
    """Tell the time, with a time zone."""

    def __call__(self) -> dt.datetime: ...


class Signer(Protocol):
    """Sign for this site, and tell whether what was signed earlier still stands."""

    def sign(self, content: bytes, /) -> tuple[str, bytes]:
        """Return the id of the key that signed, and the signature."""

    def verify(self, content: bytes, key_id: str, signature: bytes, /) -> bool:
        """Say whether the signature is good and its key one of ours; whatever else it may be is False."""


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """One decision as it goes to the decision log: enough to decide again, never a name."""

    id: str  # UUID, made by the caller
    key: str  # idempotency key: unique; a retry brings the same
    request_digest: str  # digest of the request's body: the same key with another body is refused
    interface: str  # cds-hooks, nhsa-3101, decisions …
    stage: str
    at: dt.datetime
    release: str
    facts_digest: str
    status: str
    findings: int
    not_checked: int
    trace: bytes  # JSON of the Decision: findings with trace, shadow, not checked
    answer: bytes  # JSON of the answer as sent, so that a retry gets the same
    cards: tuple[str, ...] = ()  # ids by which feedback will refer to it
    patient: str = ""  # the caller's own id of the patient, never a name
    site: str = ""  # where it belongs, which decides who may read it; empty: not known
    department: str = ""
    # For the audit log only; the decision's row does not hold them.
    who: str = ""  # account of whoever asked
    source: str = ""  # where from: address, system
    microseconds: int = 0  # from request to record


class Recorded(msgspec.Struct, frozen=True):
    """What the log holds under the key: ``answer`` is the first one; ``fresh`` says whether it is ours."""

    id: str
    answer: bytes
    fresh: bool


class FeedbackEntry(msgspec.Struct, frozen=True, kw_only=True):
    """What a user did with a card or a warning: idempotent by (card, outcome, outcome time)."""

    service: str
    card: str
    outcome: str  # accepted | overridden
    outcome_at: dt.datetime
    accepted_suggestions: tuple[str, ...] = ()
    reason_code: str = ""
    reason_system: str = ""
    comment: str = ""
    # For the audit log only.
    who: str = ""
    source: str = ""


class DecisionLog(Protocol):
    """Keep decisions. ``append`` returns only when the entry is durable, else raises ``NotRecorded``."""

    async def append(self, entry: Entry, /) -> Recorded: ...

    async def find(self, key: str, request_digest: str, /) -> Recorded | None:
        """Return what was answered to this key before; raise ``ReusedKey`` if the request differs."""

    async def append_feedback(self, entries: tuple[FeedbackEntry, ...], /) -> None: ...
