"""Seal signing keys and one-time secrets under the site's data keys, or by a key in a file of its own."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final, Protocol

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from engine.errors import RuleWardError
from engine.identity import Seal

__all__ = ["FileSeal", "Keeper", "KeptSeal", "SealBroken"]

_NONCE: Final = 12
_KEY: Final = 32


class SealBroken(RuleWardError):
    """A sealed value that this key does not open: another key, another place, or altered."""


class FileSeal:
    """AES-256-GCM; the file is made when absent and readable by its owner only."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._cipher: AESGCM | None = None

    def seal(self, plain: bytes, context: str) -> bytes:
        """Return nonce and ciphertext, bound to ``context``."""
        nonce = os.urandom(_NONCE)
        return nonce + self._ready().encrypt(nonce, plain, context.encode())

    def open(self, sealed: bytes, context: str) -> bytes:
        """Return what was sealed; raises :class:`SealBroken`."""
        try:
            return self._ready().decrypt(sealed[:_NONCE], sealed[_NONCE:], context.encode())
        except (InvalidTag, ValueError):
            raise SealBroken(f"{context} was not sealed with the key in {self._path.name}.") from None

    def _ready(self) -> AESGCM:
        if self._cipher is None:
            self._cipher = AESGCM(self._read())
        return self._cipher

    def _read(self) -> bytes:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        own = self._path.with_name(f"{self._path.name}.{os.getpid()}")
        if not self._path.exists():
            # Written aside and linked: of several workers that start at once one wins, whole.
            descriptor = os.open(own, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            with os.fdopen(descriptor, "wb") as file:
                file.write(os.urandom(_KEY))
                file.flush()
                os.fsync(file.fileno())
            try:
                os.link(own, self._path)
            except FileExistsError:
                pass
            finally:
                own.unlink()
        key = self._path.read_bytes()
        if len(key) != _KEY:
            raise SealBroken(f"{self._path.name} holds no key of {_KEY} bytes. Restore it from the backup.")
        return key


class Keeper(Protocol):
    """What is wanted of the keys of stored data; ``adapters.gm_crypto.envelope.EnvelopeSeal`` is one."""

    def active(self) -> str: ...

    def seal(self, content: bytes, context: bytes, key_id: str, /) -> bytes: ...

    def open(self, sealed: bytes, context: bytes, /) -> bytes: ...


class KeptSeal:
    """Seal under the site's data keys (SM4-GCM by default): fulfils ``engine.identity.Seal``.

    ``before`` opens what another seal has sealed, until it is sealed anew.
    """

    def __init__(self, keeper: Keeper, before: Seal | None = None) -> None:
        self._keeper, self._before = keeper, before

    def seal(self, plain: bytes, context: str, /) -> bytes:
        """Return what holds the id of its key."""
        return self._keeper.seal(plain, _place(context), self._keeper.active())

    def open(self, sealed: bytes, context: str, /) -> bytes:
        """Return what was sealed; ``RuleWardError`` when it cannot be opened."""
        try:
            return self._keeper.open(sealed, _place(context))
        except RuleWardError:
            if self._before is None:
                raise
            return self._before.open(sealed, context)


def _place(context: str) -> bytes:
    return f"identity {context}".encode()
