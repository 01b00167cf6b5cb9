"""Provide SM2, SM3 and SM4 in software: function and evidence by tests, but no certified module."""

from __future__ import annotations

import secrets
from functools import lru_cache
from typing import Final

from adapters.gm_crypto import sm2, sm3, sm4
from adapters.gm_crypto.provider import CryptoError
from adapters.gm_crypto.sm2_keys import private_from_der, private_to_der

__all__ = ["SoftProvider"]

_REMEMBERED: Final = 32  # signing keys: the public half of each costs 6 ms


class SoftProvider:
    """Fulfil ``Provider``: secret keys are 16 bytes, signing keys PKCS #8."""

    name: Final = "soft"

    def digest(self, content: bytes, /) -> bytes:
        """Return SM3 of ``content``."""
        return sm3.digest(content)

    def new_key(self) -> bytes:
        """Return 16 random bytes."""
        return secrets.token_bytes(sm4.KEY_BYTES)

    def mac(self, key: bytes, content: bytes, /) -> bytes:
        """Return HMAC-SM3 of ``content``."""
        return sm3.mac(key, content)

    def seal(self, key: bytes, content: bytes, context: bytes, /) -> bytes:
        """Return nonce, ciphertext and tag."""
        return sm4.encrypt(key, content, context)

    def open(self, key: bytes, sealed: bytes, context: bytes, /) -> bytes:
        """Return what was sealed; ``CryptoError`` if anything differs."""
        content = sm4.decrypt(key, sealed, context)
        if content is None:
            raise CryptoError(
                "A sealed value does not open: its key or its place is another, or it was altered."
            )
        return content

    def new_signing_key(self) -> bytes:
        """Make an SM2 key; returns PKCS #8."""
        return private_to_der(sm2.generate())

    def public_key(self, signing_key: bytes, /) -> sm2.PublicKey:
        """Return the public half."""
        return _private(signing_key).public

    def sign(self, signing_key: bytes, content: bytes, /, *, signer_id: bytes = sm2.SIGNER_ID) -> bytes:
        """Return the DER signature; 13 ms."""
        return sm2.sign(_private(signing_key), content, signer_id=signer_id)

    def verify(
        self,
        public_key: sm2.PublicKey,
        content: bytes,
        signature: bytes,
        /,
        *,
        signer_id: bytes = sm2.SIGNER_ID,
    ) -> bool:
        """Say whether the DER signature is good; 23 ms."""
        return sm2.verify(public_key, content, signature, signer_id=signer_id)


@lru_cache(_REMEMBERED)
def _private(der: bytes) -> sm2.PrivateKey:
    return private_from_der(der)
