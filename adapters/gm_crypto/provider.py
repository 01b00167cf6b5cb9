"""Say what any provider of Chinese commercial cryptography does, and load the one that a site names.

A hospital under classified protection brings certified hardware: a card or signing server behind
GM/T 0018 (SDF) or GM/T 0029. It fulfils ``Provider`` in a package of its own; nothing here changes.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from importlib.metadata import entry_points
from typing import Final, Protocol, TypeVar, runtime_checkable

from adapters.gm_crypto.sm2 import SIGNER_ID, PublicKey
from engine.errors import RuleWardError

__all__ = ["PROVIDERS", "CryptoError", "Provider", "load_part", "load_provider"]

PROVIDERS: Final = "ruleward.crypto_providers"
"""The group of entry points under which a package offers a provider by name."""

T = TypeVar("T")


class CryptoError(RuleWardError):
    """A key, a sealed value or a setting cannot be used: what is wrong, how to mend it."""


@runtime_checkable
class Provider(Protocol):
    """SM2, SM3 and SM4 over keys that only the provider understands.

    A key is opaque bytes: in software the key itself, with hardware whatever leads the device to it (an
    index, or the key wrapped by the device). Key stores keep these bytes and never look inside.
    """

    @property
    def name(self) -> str:
        """How key files and reports call it."""
        ...

    def digest(self, content: bytes, /) -> bytes:
        """Return SM3 (GB/T 32905) of ``content``: 32 bytes."""
        ...

    def new_key(self) -> bytes:
        """Make a secret key for ``seal`` and ``mac``."""
        ...

    def mac(self, key: bytes, content: bytes, /) -> bytes:
        """Return HMAC-SM3 of ``content``: 32 bytes."""
        ...

    def seal(self, key: bytes, content: bytes, context: bytes, /) -> bytes:
        """Encrypt by SM4-GCM, bound to ``context``: a fresh 96-bit nonce, ciphertext, 128-bit tag."""
        ...

    def open(self, key: bytes, sealed: bytes, context: bytes, /) -> bytes:
        """Decrypt what ``seal`` gave; ``CryptoError`` if key, context or a single bit differ."""
        ...

    def new_signing_key(self) -> bytes:
        """Make an SM2 key pair and return its private half."""
        ...

    def public_key(self, signing_key: bytes, /) -> PublicKey:
        """Return the public half."""
        ...

    def sign(self, signing_key: bytes, content: bytes, /, *, signer_id: bytes = SIGNER_ID) -> bytes:
        """Sign by SM2 with SM3 (GB/T 32918.2); returns the DER signature."""
        ...

    def verify(
        self, public_key: PublicKey, content: bytes, signature: bytes, /, *, signer_id: bytes = SIGNER_ID
    ) -> bool:
        """Say whether a DER signature is good; whatever else it may be is False, never an exception."""
        ...


def load_provider(name: str, environment: Mapping[str, str]) -> Provider:
    """Return the provider called ``soft``, by an entry point's name, or by ``package.module:factory``.

    The factory takes the environment, so that a device finds its own settings there.
    """
    if name == "soft":
        from adapters.gm_crypto.soft import SoftProvider

        return SoftProvider()
    if ":" not in name:
        found = [point for point in entry_points(group=PROVIDERS) if point.name == name]
        if not found:
            raise CryptoError(
                f"RULEWARD_CRYPTO_PROVIDER: no installed package offers {name} as {PROVIDERS}."
                " Write soft, such a name, or package.module:factory."
            )
        name = found[0].value
    made = load_part("RULEWARD_CRYPTO_PROVIDER", name, environment)
    if not isinstance(made, Provider):
        raise CryptoError(f"RULEWARD_CRYPTO_PROVIDER: what {name} makes is no {Provider.__qualname__}.")
    return made


def load_part(variable: str, path: str, *arguments: object) -> object:
    """Return what ``package.module:factory`` makes of ``arguments``; ``CryptoError`` names the variable."""
    module, _, attribute = path.partition(":")
    try:
        factory = getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError, ValueError) as error:
        raise CryptoError(
            f"{variable}: {path} cannot be loaded ({error})."
            " Write package.module:factory of an installed package."
        ) from error
    made: object = factory(*arguments)
    return made
