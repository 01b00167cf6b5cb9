"""Say what seals the personal and clinical columns, and bind each sealed value to its table, column and row.

Sealed are ``patient``, ``trace`` and ``answer`` of a decision and ``comment`` of a feedback. ``seal_key``
names the key of a row's values; an empty one says that they stand as they were given.
"""

from __future__ import annotations

import datetime as dt
from typing import Final, Protocol

from engine.errors import RuleWardError

__all__ = ["PLAIN", "Seal", "decision_context", "feedback_context", "opened", "patient_blind"]


class Seal(Protocol):
    """Encrypt values for their places; ``adapters.gm_crypto.envelope`` has one."""

    def active(self) -> str:
        """Return the id of the key that seals now; empty: values are not sealed."""
        ...

    def seal(self, content: bytes, context: bytes, key_id: str, /) -> bytes:
        """Encrypt ``content`` for ``context`` under the key ``key_id``."""
        ...

    def open(self, sealed: bytes, context: bytes, /) -> bytes:
        """Decrypt; ``RuleWardError`` when key, place or content are not what was sealed."""
        ...

    def blind(self, text: str, field: str, /) -> str:
        """Return what stands for ``text`` in the index of ``field``: equal for equal text."""
        ...


class _Plain:
    """Seal nothing: for tests, and for reading what was written before there were keys."""

    def active(self) -> str:
        return ""

    def seal(self, content: bytes, context: bytes, key_id: str, /) -> bytes:
        return content

    def open(self, sealed: bytes, context: bytes, /) -> bytes:
        raise RuleWardError("This value is sealed. Open the decision log with the keys of the service.")

    def blind(self, text: str, field: str, /) -> str:
        return ""


PLAIN: Final[Seal] = _Plain()


def decision_context(column: str, identity: str) -> bytes:
    """Return the place of one value of one decision."""
    return f"decision/{column}/{identity}".encode()


def feedback_context(card: str, outcome: str, outcome_at: dt.datetime) -> bytes:
    """Return the place of the comment of one feedback, by what makes the feedback unique."""
    at = outcome_at.astimezone(dt.UTC).replace(tzinfo=None).isoformat(" ", "microseconds")
    return f"feedback/comment/{card}/{outcome}/{at}".encode(errors="surrogatepass")


def patient_blind(seal: Seal, patient: str) -> str:
    """Return what finds the decisions of a patient; empty for none."""
    return seal.blind(patient, "decision/patient") if patient else ""


def opened(seal: Seal, seal_key: str, value: bytes, context: bytes) -> bytes:
    """Return a value as it was before it was stored."""
    return seal.open(bytes(value), context) if seal_key else bytes(value)
