"""Hash with SM3 (GB/T 32905), by OpenSSL through ``cryptography``."""

from __future__ import annotations

from cryptography.hazmat.primitives import hashes

__all__ = ["sm3"]


def sm3(content: bytes) -> str:
    """Return ``sm3:`` and 64 hexadecimal digits."""
    hasher = hashes.Hash(hashes.SM3())
    hasher.update(content)
    return f"sm3:{hasher.finalize().hex()}"
