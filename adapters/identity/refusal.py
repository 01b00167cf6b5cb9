"""Say no to a token or a sign-in, in words that help its owner and not an attacker."""

from __future__ import annotations

from engine.errors import RuleWardError

__all__ = ["SignInRefused", "TokenRefused"]


class TokenRefused(RuleWardError):
    """A token that does not count; ``why`` never repeats what the token says."""

    def __init__(self, why: str) -> None:
        super().__init__(why)
        self.why = why


class SignInRefused(RuleWardError):
    """A sign-in that does not succeed; ``code`` is a word that the page translates."""

    def __init__(self, code: str) -> None:
        super().__init__(code)
        self.code = code
