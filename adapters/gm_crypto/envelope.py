"""Seal what the database holds under data keys that carry an id, and make its blind index.

A sealed value: the byte 01, or 02 when the content was compressed first, the key's id (4 bytes), and what
the provider's ``seal`` gave. The context that the caller names (table, column, row) and these five bytes
are authenticated, so that no value can be put in another's place.
"""

from __future__ import annotations

import logging
import time
import zlib
from collections.abc import Callable
from typing import Final

from adapters.gm_crypto.keys import Key, KeyRing, KeyStore, Use
from adapters.gm_crypto.provider import CryptoError, Provider

__all__ = ["EnvelopeSeal"]

_LOG: Final = logging.getLogger("ruleward.keys")
_AS_IT_IS: Final = b"\x01"
_COMPRESSED: Final = b"\x02"
# A trace shrinks to a fifth, in less time than its four other fifths would take to encrypt; and what is
# sealed, no database can compress any more.
_WORTH_COMPRESSING: Final = 512
_HEADER: Final = 5
_BLIND: Final = 16  # bytes: half of the MAC, which halves the index and still never meets itself by chance


class EnvelopeSeal:
    """Fulfil the store's ``Seal``; shared by all threads of a process.

    ``refresh`` is after how many seconds at most a key that was rotated elsewhere is used here.
    """

    def __init__(
        self,
        provider: Provider,
        store: KeyStore,
        *,
        refresh: float = 5.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._provider = provider
        self._store = store
        self._clock = clock
        self.refresh: Final = refresh
        self._ring = KeyRing(())
        self._active = self._load()
        self._blind = self._ring.active(Use.BLIND)
        self._due = clock() + refresh

    def active(self) -> str:
        """Return the id of the key that seals now."""
        if self._clock() >= self._due:
            self._due = self._clock() + self.refresh
            try:
                self._active = self._load()
            except (CryptoError, OSError) as error:
                # What we hold still opens and seals: a decision must not wait for a key store.
                _LOG.error("the key store cannot be read, the keys from before stay in use: %s", error)
        return self._active.id

    def seal(self, content: bytes, context: bytes, key_id: str, /) -> bytes:
        """Encrypt ``content`` for its place ``context`` under the key ``key_id``."""
        form = _AS_IT_IS
        if len(content) >= _WORTH_COMPRESSING:
            smaller = _compress(content)
            if len(smaller) < len(content):
                form, content = _COMPRESSED, smaller
        header = form + bytes.fromhex(key_id)
        return header + self._provider.seal(self._key(key_id).material, content, header + context)

    def open(self, sealed: bytes, context: bytes, /) -> bytes:
        """Decrypt; ``CryptoError`` if the key is not there, or place or content are not what was sealed."""
        header, body = sealed[:_HEADER], sealed[_HEADER:]
        if len(header) < _HEADER or header[:1] not in (_AS_IT_IS, _COMPRESSED):
            raise CryptoError("A sealed value begins with neither version nor key: it was altered.")
        content = self._provider.open(self._key(header[1:].hex()).material, body, header + context)
        return zlib.decompress(content) if header[:1] == _COMPRESSED else content

    def key_of(self, sealed: bytes, /) -> str:
        """Return the id of the key that a value names; empty when it was not sealed here."""
        header = sealed[:_HEADER]
        return header[1:].hex() if len(header) == _HEADER and header[:1] in (_AS_IT_IS, _COMPRESSED) else ""

    def blind(self, text: str, field: str, /) -> str:
        """Return what stands for ``text`` in the index of ``field``: equal for equal text, and no more."""
        content = f"{field}\0{text}".encode(errors="surrogatepass")
        return self._provider.mac(self._blind.material, content)[:_BLIND].hex()

    def _load(self) -> Key:
        self._ring = self._store.ring()
        return self._ring.active(Use.DATA)

    def _key(self, key_id: str) -> Key:
        if key_id == self._active.id:
            return self._active
        key = self._ring.find(key_id)
        if key is None:  # made elsewhere since we last looked
            self._active = self._load()
            key = self._ring.find(key_id)
        if key is None or key.use is not Use.DATA:
            raise CryptoError(
                f"The key store has no data key {key_id}. Restore the key store from its backup."
            )
        return key


def _compress(content: bytes) -> bytes:
    """Compress by zlib with small tables: the result is no larger, in two thirds of the time."""
    compressor = zlib.compressobj(1, zlib.DEFLATED, 14, 6)
    return compressor.compress(content) + compressor.flush()
