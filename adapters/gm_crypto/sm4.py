"""Encrypt and authenticate with SM4-GCM (GB/T 32907, RFC 8998), by OpenSSL through ``cryptography``."""

from __future__ import annotations

import os
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

__all__ = ["KEY_BYTES", "OVERHEAD", "decrypt", "encrypt"]

KEY_BYTES: Final = 16
_NONCE_BYTES: Final = 12  # 96 bits, the one length that GCM takes as it is
_TAG_BYTES: Final = 16
OVERHEAD: Final = _NONCE_BYTES + _TAG_BYTES
"""By how many bytes the sealed value is longer."""


def encrypt(key: bytes, content: bytes, context: bytes) -> bytes:
    """Return nonce, ciphertext and tag; ``context`` is authenticated but not contained.

    The nonce is random: with one key, collisions stay below one in 2^32 up to 2^32 values
    (NIST SP 800-38D 8.3), which is when a key must have been rotated.
    """
    return _encrypt(key, os.urandom(_NONCE_BYTES), content, context)


def decrypt(key: bytes, sealed: bytes, context: bytes) -> bytes | None:
    """Return the content; None if key or context differ or anything was altered."""
    if len(sealed) < OVERHEAD:
        return None
    nonce, body, tag = sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:-_TAG_BYTES], sealed[-_TAG_BYTES:]
    decryptor = Cipher(algorithms.SM4(key), modes.GCM(nonce, tag)).decryptor()
    decryptor.authenticate_additional_data(context)
    try:
        return decryptor.update(body) + decryptor.finalize()
    except InvalidTag:
        return None


def _encrypt(key: bytes, nonce: bytes, content: bytes, context: bytes) -> bytes:
    """Encrypt under a given nonce: never twice the same with one key, so only ``encrypt`` and vectors do."""
    encryptor = Cipher(algorithms.SM4(key), modes.GCM(nonce)).encryptor()
    encryptor.authenticate_additional_data(context)
    return nonce + encryptor.update(content) + encryptor.finalize() + encryptor.tag
