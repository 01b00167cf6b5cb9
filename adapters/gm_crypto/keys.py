"""Say what a key store holds and does, and load the one that a site names.

Envelope encryption: data keys seal what is stored and carry an id; the store keeps them wrapped under a key
of its own (a passphrase's, a KMS's, an HSM's). A key management system fulfils ``KeyStore`` in a package of
its own and is named by ``package.module:factory``.
"""

from __future__ import annotations

import datetime as dt
import enum
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

from adapters.gm_crypto.provider import CryptoError

__all__ = ["Key", "KeyRing", "KeyStore", "State", "Use"]


class Use(enum.StrEnum):
    """What a key is for; no key is for two things."""

    DATA = "data"
    """Seals stored values (SM4-GCM)."""

    BLIND = "blind"
    """Makes the blind index (HMAC-SM3)."""

    SIGN = "sign"
    """Signs releases and the heads of the audit chain (SM2)."""


class State(enum.StrEnum):
    """What a key may still do."""

    ACTIVE = "active"
    """Seals and opens, signs; one of each use."""

    OLD = "old"
    """Opens and verifies what it sealed or signed; something may still be under it."""

    RETIRED = "retired"
    """As old, but nothing in the database is under it: only backups may need it."""


@dataclass(frozen=True)
class Key:
    """A key with its id: eight hexadecimal digits, which every sealed value carries."""

    id: str
    use: Use
    state: State
    made_at: dt.datetime
    material: bytes = field(repr=False)
    """What the provider understands; see ``Provider``."""


@dataclass(frozen=True)
class KeyRing:
    """All keys at one moment."""

    keys: tuple[Key, ...]

    def active(self, use: Use) -> Key:
        """Return the key of this use that works now."""
        for key in self.keys:
            if key.use is use and key.state is State.ACTIVE:
                return key
        raise CryptoError(
            f"The key store has no active key for {use}. Restore the key store from its backup."
        )

    def find(self, key_id: str) -> Key | None:
        """Return the key with this id, in whatever state."""
        return next((key for key in self.keys if key.id == key_id), None)

    def of(self, use: Use) -> tuple[Key, ...]:
        """Return the keys of one use, oldest first."""
        return tuple(sorted((key for key in self.keys if key.use is use), key=lambda key: key.made_at))


@runtime_checkable
class KeyStore(Protocol):
    """Keep keys; the calls are safe from several threads and processes."""

    def ring(self) -> KeyRing:
        """Return the keys as they are now; cheap when nothing has changed. Raises ``CryptoError``."""
        ...

    def rotate(self, use: Use, /) -> Key:
        """Make a new active key and return it; the one before turns old.

        The blind index's key cannot rotate: equality search needs one key over all rows.
        """
        ...

    def retire(self, key_id: str, /) -> None:
        """Note that nothing stored is under this key any more; it must not be active."""
        ...
