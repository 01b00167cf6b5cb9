"""Say what a site must state to reach __SYSTEM__."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

__all__ = ["Settings", "read"]

PREFIX = "RULEWARD___SYSTEM_UPPER___"


class Settings(msgspec.Struct, frozen=True):
    """Where the system stands and how long it may take. No address: the embedded one is used."""

    base_url: str = ""
    timeout_seconds: float = 2.0


def read(environment: Mapping[str, str]) -> Settings:
    """Read the settings from environment variables; ``ValueError`` names the variable that is wrong."""
    stated = environment.get(f"{PREFIX}TIMEOUT_SECONDS", "2")
    try:
        timeout_seconds = float(stated)
    except ValueError:
        raise ValueError(f"{PREFIX}TIMEOUT_SECONDS is {stated!r}. Write a number of seconds.") from None
    return Settings(environment.get(f"{PREFIX}URL", ""), timeout_seconds)
