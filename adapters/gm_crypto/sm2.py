"""Sign and verify with SM2 (GB/T 32918.2 on the curve of GB/T 32918.5), by ``gmssl`` used with care.

gmssl 3.2.2 brings the curve arithmetic. Its traps are kept out here: its nonces come from ``random``, it
strips leading digits 0 and 4 of a public key, it does not check that r and s are in range or that a point
is on the curve, and it hashes a thousand times slower than OpenSSL.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass, field
from typing import Final, Literal

from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature, encode_dss_signature
from gmssl.sm2 import CryptSM2, default_ecc_table

from adapters.gm_crypto.sm3 import digest

__all__ = ["SIGNER_ID", "Encoding", "PrivateKey", "PublicKey", "generate", "sign", "verify"]

SIGNER_ID: Final = b"1234567812345678"
"""The signer's id when nobody agreed on another (GM/T 0009 section 10)."""

Encoding = Literal["der", "raw"]
"""A signature as DER (GM/T 0009, what OpenSSL reads) or as r and s, 32 bytes each."""

_P: Final = int(default_ecc_table["p"], 16)
_A: Final = int(default_ecc_table["a"], 16)
_B: Final = int(default_ecc_table["b"], 16)
_N: Final = int(default_ecc_table["n"], 16)
_G: Final[str] = default_ecc_table["g"]
_BYTES: Final = 32
_LONGEST_ID: Final = 0xFFFF // 8  # its length in bits stands in two bytes
# What gmssl raises when a sum of points is the point at infinity, which it cannot write down.
_NO_POINT: Final = (TypeError, ValueError, IndexError)


@dataclass(frozen=True)
class PublicKey:
    """A point of the curve; ``ValueError`` if it is none."""

    x: int
    y: int

    def __post_init__(self) -> None:
        in_field = 0 <= self.x < _P and 0 <= self.y < _P
        if not in_field or (self.y * self.y - (self.x**3 + _A * self.x + _B)) % _P:
            raise ValueError("this is no point of the SM2 curve")

    @classmethod
    def from_point(cls, point: bytes) -> PublicKey:
        """Read X and Y, 32 bytes each, with or without the leading byte 04.

        Only the length tells the two apart: a bare X may begin with 04 too.
        """
        if len(point) == 2 * _BYTES + 1 and point[0] == 4:
            point = point[1:]
        if len(point) != 2 * _BYTES:
            raise ValueError("an SM2 public key is 64 bytes, or 65 of which the first is 04")
        return cls(int.from_bytes(point[:_BYTES]), int.from_bytes(point[_BYTES:]))

    @property
    def point(self) -> bytes:
        """The byte 04, X and Y."""
        return b"\x04" + self.x.to_bytes(_BYTES) + self.y.to_bytes(_BYTES)


@dataclass(frozen=True)
class PrivateKey:
    """A number from 1 to n - 2 and the point that belongs to it; ``ValueError`` if it is out of range."""

    d: int = field(repr=False)
    public: PublicKey = field(init=False)

    def __post_init__(self) -> None:
        if not 1 <= self.d <= _N - 2:
            raise ValueError("an SM2 private key lies between 1 and n - 2")
        point = bytes.fromhex(_gmssl()._kg(self.d, _G))
        object.__setattr__(self, "public", PublicKey.from_point(point))


def generate() -> PrivateKey:
    """Make a key from the operating system's random numbers."""
    return PrivateKey(secrets.randbelow(_N - 2) + 1)


def sign(
    key: PrivateKey, content: bytes, *, signer_id: bytes = SIGNER_ID, encoding: Encoding = "der"
) -> bytes:
    """Sign ``content``; ``ValueError`` for a signer id of more than 8191 bytes."""
    e = _hash(key.public, content, signer_id)
    engine = _gmssl(key.public, key.d)
    raw: str | None = None
    while raw is None:  # None: r = 0, r + k = n or s = 0, which GB/T 32918.2 6.1 answers with another nonce
        raw = engine.sign(e, f"{_nonce():064x}")
    if encoding == "raw":
        return bytes.fromhex(raw)
    return encode_dss_signature(int(raw[:64], 16), int(raw[64:], 16))


def verify(
    key: PublicKey,
    content: bytes,
    signature: bytes,
    *,
    signer_id: bytes = SIGNER_ID,
    encoding: Encoding = "der",
) -> bool:
    """Say whether ``signature`` is good; a malformed one is not."""
    try:
        r, s = _numbers(signature, encoding)
        if not (1 <= r < _N and 1 <= s < _N):
            return False
        e = _hash(key, content, signer_id)
        return bool(_gmssl(key).verify(f"{r:064x}{s:064x}", e))
    except _NO_POINT:
        return False


def _nonce() -> int:
    """Return a number from 1 to n - 1 that nobody can guess: whoever knows one knows the private key."""
    return secrets.randbelow(_N - 1) + 1


def _numbers(signature: bytes, encoding: Encoding) -> tuple[int, int]:
    if encoding == "raw":
        if len(signature) != 2 * _BYTES:
            raise ValueError("r and s are 32 bytes each")
        return int.from_bytes(signature[:_BYTES]), int.from_bytes(signature[_BYTES:])
    return decode_dss_signature(signature)


def _hash(key: PublicKey, content: bytes, signer_id: bytes) -> bytes:
    """Return e = SM3(Z, content), where Z binds the signer's id, the curve and the key (GB/T 32918.2 5.5)."""
    if len(signer_id) > _LONGEST_ID:
        raise ValueError(f"a signer id has at most {_LONGEST_ID} bytes")
    z = digest(
        (8 * len(signer_id)).to_bytes(2),
        signer_id,
        _A.to_bytes(_BYTES),
        _B.to_bytes(_BYTES),
        bytes.fromhex(_G),
        key.point[1:],
    )
    return digest(z, content)


def _gmssl(public: PublicKey | None = None, d: int = 0) -> CryptSM2:
    """Return gmssl's engine with the key put in after construction, which would strip leading 0 and 4."""
    engine = CryptSM2(private_key=f"{d:064x}", public_key="")
    if public is not None:
        engine.public_key = public.point[1:].hex()
    return engine
