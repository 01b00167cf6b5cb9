"""Give providers and key stores that are cheap to make."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from pathlib import Path

import pytest

from adapters.gm_crypto.file_keys import Cost, FileKeyStore
from adapters.gm_crypto.provider import CryptoError, Provider
from adapters.gm_crypto.sm2 import SIGNER_ID, PublicKey
from adapters.gm_crypto.soft import SoftProvider


class CardDouble:
    """Behave as a crypto card: keys stay inside, and outside there are only numbers that lead to them."""

    name = "card-double"

    def __init__(self) -> None:
        self._soft = SoftProvider()
        self._slots: dict[bytes, bytes] = {}

    def _put(self, key: bytes) -> bytes:
        handle = f"slot {len(self._slots) + 1}".encode()
        self._slots[handle] = key
        return handle

    def _inside(self, handle: bytes) -> bytes:
        if handle not in self._slots:
            raise CryptoError("the card has no such slot")
        return self._slots[handle]

    def digest(self, content: bytes, /) -> bytes:
        return self._soft.digest(content)

    def new_key(self) -> bytes:
        return self._put(secrets.token_bytes(16))

    def mac(self, key: bytes, content: bytes, /) -> bytes:
        return self._soft.mac(self._inside(key), content)

    def seal(self, key: bytes, content: bytes, context: bytes, /) -> bytes:
        return self._soft.seal(self._inside(key), content, context)

    def open(self, key: bytes, sealed: bytes, context: bytes, /) -> bytes:
        return self._soft.open(self._inside(key), sealed, context)

    def new_signing_key(self) -> bytes:
        return self._put(self._soft.new_signing_key())

    def public_key(self, signing_key: bytes, /) -> PublicKey:
        return self._soft.public_key(self._inside(signing_key))

    def sign(self, signing_key: bytes, content: bytes, /, *, signer_id: bytes = SIGNER_ID) -> bytes:
        return self._soft.sign(self._inside(signing_key), content, signer_id=signer_id)

    def verify(
        self, public_key: PublicKey, content: bytes, signature: bytes, /, *, signer_id: bytes = SIGNER_ID
    ) -> bool:
        return self._soft.verify(public_key, content, signature, signer_id=signer_id)


@pytest.fixture(params=["soft", "card"])
def provider(request: pytest.FixtureRequest) -> Provider:
    """Give the provider in software, then the double of a card."""
    return SoftProvider() if request.param == "soft" else CardDouble()


@pytest.fixture
def key_store(tmp_path: Path, provider: Provider) -> Callable[..., FileKeyStore]:
    """Return what opens the key file of this test, as another process would."""

    def make(passphrase: str = "correct horse battery") -> FileKeyStore:
        return FileKeyStore(tmp_path / "keys.json", passphrase, provider, cost=Cost(1, 64, 1))

    return make
