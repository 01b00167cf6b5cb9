"""Read and write SM2 keys as OpenSSL does: PKCS #8, SEC 1 and SubjectPublicKeyInfo, as DER or PEM.

An encrypted private key is refused with what to do: keep it in the key store, which encrypts it with SM4.
"""

from __future__ import annotations

import base64
import binascii
import re
from typing import Annotated, Final

from cryptography.hazmat import asn1
from cryptography.x509 import ObjectIdentifier

from adapters.gm_crypto.sm2 import PrivateKey, PublicKey

__all__ = [
    "private_from_der",
    "private_from_pem",
    "private_to_der",
    "private_to_pem",
    "public_from_der",
    "public_from_pem",
    "public_to_der",
    "public_to_pem",
]

_EC: Final = ObjectIdentifier("1.2.840.10045.2.1")  # id-ecPublicKey, RFC 5480
_SM2: Final = ObjectIdentifier("1.2.156.10197.1.301")  # sm2p256v1, GM/T 0006
_BYTES: Final = 32


@asn1.sequence
class _Algorithm:
    algorithm: ObjectIdentifier
    curve: ObjectIdentifier


@asn1.sequence
class _PublicKeyInfo:  # RFC 5280 4.1
    algorithm: _Algorithm
    point: asn1.BitString


@asn1.sequence
class _PrivateKeyInfo:  # PKCS #8, RFC 5208 5
    version: int
    algorithm: _Algorithm
    key: bytes


@asn1.sequence
class _ECPrivateKey:  # SEC 1, RFC 5915 3
    version: int
    d: bytes
    curve: Annotated[ObjectIdentifier | None, asn1.Explicit(0)]
    point: Annotated[asn1.BitString | None, asn1.Explicit(1)]


def private_to_der(key: PrivateKey) -> bytes:
    """Return the key as unencrypted PKCS #8."""
    point = asn1.BitString(key.public.point, 0)
    inner = _ECPrivateKey(version=1, d=key.d.to_bytes(_BYTES), curve=None, point=point)
    return asn1.encode_der(
        _PrivateKeyInfo(
            version=0, algorithm=_Algorithm(algorithm=_EC, curve=_SM2), key=asn1.encode_der(inner)
        )
    )


def private_to_pem(key: PrivateKey) -> str:
    """Return the key as unencrypted PKCS #8 between the lines of PEM."""
    return _pem("PRIVATE KEY", private_to_der(key))


def private_from_der(der: bytes) -> PrivateKey:
    """Read PKCS #8 or SEC 1; ``ValueError`` if it is neither, of another curve, or its halves differ."""
    try:
        info = asn1.decode_der(_PrivateKeyInfo, der)
    except ValueError:
        return _sec1(der, curve_named=True)
    _must_be_sm2(info.algorithm)
    return _sec1(info.key, curve_named=False)


def private_from_pem(pem: str) -> PrivateKey:
    """Read the first private key of a PEM text; ``ValueError`` as :func:`private_from_der`."""
    if "ENCRYPTED" in pem:
        raise ValueError("this private key is encrypted. Decrypt it first: openssl pkey -in key.pem")
    return private_from_der(_der(pem, "PRIVATE KEY", "EC PRIVATE KEY", "SM2 PRIVATE KEY"))


def public_to_der(key: PublicKey) -> bytes:
    """Return the key as SubjectPublicKeyInfo."""
    return asn1.encode_der(
        _PublicKeyInfo(algorithm=_Algorithm(algorithm=_EC, curve=_SM2), point=asn1.BitString(key.point, 0))
    )


def public_to_pem(key: PublicKey) -> str:
    """Return the key as SubjectPublicKeyInfo between the lines of PEM."""
    return _pem("PUBLIC KEY", public_to_der(key))


def public_from_der(der: bytes) -> PublicKey:
    """Read SubjectPublicKeyInfo with an uncompressed point; ``ValueError`` for anything else."""
    info = asn1.decode_der(_PublicKeyInfo, der)
    _must_be_sm2(info.algorithm)
    return PublicKey.from_point(_uncompressed(info.point))


def public_from_pem(pem: str) -> PublicKey:
    """Read the first public key of a PEM text; ``ValueError`` as :func:`public_from_der`."""
    return public_from_der(_der(pem, "PUBLIC KEY"))


def _sec1(der: bytes, *, curve_named: bool) -> PrivateKey:
    inner = asn1.decode_der(_ECPrivateKey, der)
    if inner.version != 1 or len(inner.d) > _BYTES:
        raise ValueError("this is no private key of a 256-bit curve")
    if inner.curve != _SM2 and (curve_named or inner.curve is not None):
        raise ValueError("this key is not of the SM2 curve")
    key = PrivateKey(int.from_bytes(inner.d))
    if inner.point is not None and _uncompressed(inner.point) != key.public.point:
        raise ValueError("the public half does not belong to the private one")
    return key


def _must_be_sm2(algorithm: _Algorithm) -> None:
    if algorithm.algorithm != _EC or algorithm.curve != _SM2:
        raise ValueError("this key is not of the SM2 curve")


def _uncompressed(point: asn1.BitString) -> bytes:
    content = point.as_bytes()
    if point.padding_bits() or len(content) != 2 * _BYTES + 1 or content[0] != 4:
        raise ValueError("the point is not in its uncompressed form. Write it with: openssl pkey -in key.pem")
    return content


def _pem(label: str, der: bytes) -> str:
    text = base64.b64encode(der).decode()
    lines = [text[start : start + 64] for start in range(0, len(text), 64)]
    return "\n".join([f"-----BEGIN {label}-----", *lines, f"-----END {label}-----", ""])


def _der(pem: str, *labels: str) -> bytes:
    for label in labels:
        found = re.search(f"-----BEGIN {label}-----([A-Za-z0-9+/=\\s]*)-----END {label}-----", pem)
        if found:
            try:
                return base64.b64decode("".join(found[1].split()), validate=True)
            except binascii.Error as error:
                raise ValueError("what stands between the lines of PEM is not base64") from error
    raise ValueError(f"no {labels[0]} stands between lines of PEM")
