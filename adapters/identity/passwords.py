"""Hash passwords with argon2id, and say which are good enough (GB/T 22239-2019 8.1.4.1 a)."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from typing import Final

import argon2

__all__ = ["SHORTEST", "Passwords"]

SHORTEST: Final = 12
_LONGEST: Final = 128
_REMEMBERED: Final = 3
_AT_ONCE: Final = 2
_COMMON: Final = (
    "password",
    "passw0rd",
    "qwerty",
    "123456",
    "abcdef",
    "letmein",
    "welcome",
    "admin",
    "hospital",
    "ruleward",
    "iloveyou",
    "1qaz2wsx",
    "woaini",
    "yiyuan",
)


class Passwords:
    """Hash and compare; at most two at once, since each takes 64 MiB for a moment."""

    def __init__(self, hasher: argon2.PasswordHasher | None = None) -> None:
        self._hasher = argon2.PasswordHasher() if hasher is None else hasher
        self._turn = threading.Semaphore(_AT_ONCE)
        self._nobody = ""

    def hash(self, password: str) -> str:
        """Return the hash with its salt and its cost."""
        with self._turn:
            return self._hasher.hash(password)

    def fits(self, hashed: str, password: str) -> bool:
        """Compare; an empty hash (no such account, no password) takes as long and never fits."""
        if len(password) > _LONGEST:
            return False
        with self._turn:
            self._nobody = self._nobody or self._hasher.hash("nobody's")
            try:
                self._hasher.verify(hashed or self._nobody, password)
            except (argon2.exceptions.VerificationError, argon2.exceptions.InvalidHashError):
                return False
        return bool(hashed)

    def outdated(self, hashed: str) -> bool:
        """Tell whether the hash is of an earlier cost and should be made anew."""
        return self._hasher.check_needs_rehash(hashed)

    def faults(self, password: str, name: str, earlier: Iterable[str] = ()) -> tuple[str, ...]:
        """Return what is wrong with a new password, as words that the page translates."""
        found = []
        if not SHORTEST <= len(password) <= _LONGEST:
            found.append("password_length")
        kinds = (str.islower, str.isupper, str.isdigit, lambda one: not one.isalnum())
        if sum(any(kind(one) for one in password) for kind in kinds) < 3:
            found.append("password_kinds")
        lowered = password.lower()
        if (name and name.lower() in lowered) or any(word in lowered for word in _COMMON):
            found.append("password_common")
        if len(set(password)) < SHORTEST // 2:
            found.append("password_common")
        if not found and any(self.fits(one, password) for one in list(earlier)[-_REMEMBERED:]):
            found.append("password_used")
        return tuple(dict.fromkeys(found))
