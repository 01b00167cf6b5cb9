"""Hash with SM3 (GB/T 32905), plain and keyed (HMAC), by OpenSSL through ``cryptography``."""

from __future__ import annotations

from cryptography.hazmat.primitives import hashes, hmac

__all__ = ["digest", "mac", "sm3"]


def sm3(content: bytes) -> str:
    """Return ``sm3:`` and 64 hexadecimal digits."""
    return f"sm3:{digest(content).hex()}"


def digest(*parts: bytes) -> bytes:
    """Return the 32 bytes of SM3 over the parts, one after the other."""
    hasher = hashes.Hash(hashes.SM3())
    for part in parts:
        hasher.update(part)
    return hasher.finalize()


def mac(key: bytes, content: bytes) -> bytes:
    """Return the 32 bytes of HMAC-SM3 (GB/T 15852.2)."""
    keyed = hmac.HMAC(key, hashes.SM3())
    keyed.update(content)
    return keyed.finalize()
