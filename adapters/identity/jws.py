"""Read a compact JWS strictly and check its signature; cryptography and decoding are joserfc's.

Stricter than RFC 7515 asks: no name twice, no header by which a token brings its own key
or changes how it is read.
"""

from __future__ import annotations

import json
import re
from typing import Any, Final, NoReturn

from joserfc import jwk, jws
from joserfc.errors import JoseError
from joserfc.util import urlsafe_b64decode

from adapters.identity.keys import CURVES
from adapters.identity.refusal import TokenRefused

__all__ = ["LARGEST", "Parsed", "parse", "verify"]

LARGEST: Final = 8192
_COMPACT: Final = re.compile(r"([A-Za-z0-9_-]{1,2000})\.([A-Za-z0-9_-]{1,6000})\.([A-Za-z0-9_-]{1,1400})")
_DANGEROUS: Final = ("crit", "jwk", "x5u", "x5c", "b64", "zip", "enc")
_LONGEST_WORD: Final = 512


class Parsed:
    """A token taken apart; nothing in it is to be believed before :func:`verify`."""

    __slots__ = ("algorithm", "claims", "header", "jku", "kid", "kind", "token")

    def __init__(self, token: str, header: dict[str, Any], claims: dict[str, Any]) -> None:
        self.token, self.header, self.claims = token, header, claims
        self.algorithm = _word(header, "alg")
        self.kid = _word(header, "kid")
        self.kind = _word(header, "typ").lower().removeprefix("application/")
        self.jku = _word(header, "jku") if "jku" in header else ""


def _word(header: dict[str, Any], name: str) -> str:
    value = header.get(name)
    if not isinstance(value, str) or not 0 < len(value) <= _LONGEST_WORD:
        raise TokenRefused(f"the header's {name} is missing or no word")
    return value


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise TokenRefused("a name stands twice")
    return found


def _no_constant(_word: str) -> NoReturn:
    raise TokenRefused("a number is none")


def _object(segment: str, what: str) -> dict[str, Any]:
    try:
        text = urlsafe_b64decode(segment.encode()).decode("utf-8")
        value = json.loads(text, object_pairs_hook=_once, parse_constant=_no_constant)
    except (ValueError, RecursionError):
        raise TokenRefused(f"the {what} cannot be read") from None
    if not isinstance(value, dict):
        raise TokenRefused(f"the {what} is no object")
    return value


def parse(token: str) -> Parsed:
    """Take a token apart; raises ``TokenRefused``."""
    if len(token) > LARGEST:
        raise TokenRefused("the token is too large")
    found = _COMPACT.fullmatch(token)
    if found is None:
        raise TokenRefused("the token is no signed JWT")
    header = _object(found[1], "header")
    for name in _DANGEROUS:
        if name in header:
            raise TokenRefused(f"the header may not hold {name}")
    return Parsed(token, header, _object(found[2], "payload"))


def _fits(algorithm: str, key: jwk.Key) -> bool:
    """Tell whether the key is of the algorithm's kind, so that no key serves another one."""
    stated = key.get("alg")
    if stated is not None and stated != algorithm:
        return False
    if algorithm in CURVES:
        return isinstance(key, jwk.ECKey) and key.curve_name == CURVES[algorithm]
    if algorithm == "EdDSA":
        return isinstance(key, jwk.OKPKey)
    return isinstance(key, jwk.RSAKey)


def verify(parsed: Parsed, key: jwk.Key) -> dict[str, Any]:
    """Check the signature and return the claims; the caller has allowed ``parsed.algorithm``."""
    if not _fits(parsed.algorithm, key):
        raise TokenRefused("the key is of another kind than the algorithm")
    registry = jws.JWSRegistry(algorithms=[parsed.algorithm], strict_check_header=False)
    registry.max_header_length = LARGEST
    try:
        jws.deserialize_compact(parsed.token, key, registry=registry)
    except (JoseError, ValueError, TypeError):
        raise TokenRefused("the signature is wrong") from None
    return parsed.claims
