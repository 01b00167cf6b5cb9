"""Read what a site sets about keys, and open its provider and its key store."""

from __future__ import annotations

import logging
import os
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from adapters.gm_crypto.file_keys import FileKeyStore
from adapters.gm_crypto.keys import KeyStore
from adapters.gm_crypto.provider import CryptoError, Provider, load_part, load_provider

__all__ = ["Settings", "in_demo_mode", "open_keys", "read"]

_LOG: Final = logging.getLogger("ruleward.keys")
_SHORTEST: Final = 12  # characters of a passphrase outside a demonstration


@dataclass(frozen=True)
class Settings:
    """Where keys come from; the passphrase does not show in its text."""

    provider: str
    """``soft``, the name of an installed package's entry point, or ``package.module:factory``."""

    store: str
    """``file``, or ``package.module:factory`` of a KMS or HSM."""

    file: Path
    demo: bool
    """In a demonstration, and only there, a missing passphrase is made up and left beside the data."""

    passphrase: str | None = field(repr=False)
    environment: Mapping[str, str] = field(repr=False)
    """Handed to plug-ins, which read their own settings from it."""


def in_demo_mode(environment: Mapping[str, str]) -> bool:
    """Say whether RULEWARD_MODE asks for a demonstration, or nothing: ``production`` must be said."""
    mode = environment.get("RULEWARD_MODE") or "demo"
    if mode not in ("demo", "production"):
        raise ValueError(f"RULEWARD_MODE: {mode} is neither demo nor production.")
    return mode == "demo"


def read(environment: Mapping[str, str], data: Path, *, demo: bool) -> Settings:
    """Return the settings; ``ValueError`` names the variable and how to mend it.

    ``data`` is the folder in which the key file lies unless RULEWARD_KEY_FILE says otherwise.
    """
    passphrase = environment.get("RULEWARD_KEY_PASSPHRASE") or None
    named = environment.get("RULEWARD_KEY_PASSPHRASE_FILE")
    if passphrase is None and named:
        try:
            passphrase = Path(named).read_text().rstrip("\r\n") or None
        except (OSError, UnicodeDecodeError) as error:
            raise ValueError(f"RULEWARD_KEY_PASSPHRASE_FILE: {named} cannot be read ({error}).") from error
        if passphrase is None:
            raise ValueError(f"RULEWARD_KEY_PASSPHRASE_FILE: {named} is empty.")
    store = environment.get("RULEWARD_KEY_STORE") or "file"
    if store == "file" and not demo:
        if passphrase is None:
            raise ValueError(
                "RULEWARD_KEY_PASSPHRASE_FILE: outside demo mode the keys need a passphrase."
                " Name a file that holds it (or set RULEWARD_KEY_PASSPHRASE), or set RULEWARD_KEY_STORE."
            )
        if len(passphrase) < _SHORTEST:
            raise ValueError(f"RULEWARD_KEY_PASSPHRASE: write at least {_SHORTEST} characters.")
    return Settings(
        provider=environment.get("RULEWARD_CRYPTO_PROVIDER") or "soft",
        store=store,
        file=Path(environment.get("RULEWARD_KEY_FILE") or data / "keys.json").absolute(),
        demo=demo,
        passphrase=passphrase,
        environment=environment,
    )


def open_keys(settings: Settings) -> tuple[Provider, KeyStore]:
    """Return the provider and the key store; ``CryptoError`` if they cannot be used.

    Reads the keys once, so that a wrong passphrase is told at the start and not at the first decision.
    """
    provider = load_provider(settings.provider, settings.environment)
    if settings.store == "file":
        passphrase = settings.passphrase
        if passphrase is None:
            if not settings.demo:
                raise CryptoError(
                    "Outside demo mode the keys need a passphrase: RULEWARD_KEY_PASSPHRASE_FILE."
                )
            passphrase = _demo_passphrase(settings.file)
        store: KeyStore = FileKeyStore(settings.file, passphrase, provider)
    else:
        made = load_part("RULEWARD_KEY_STORE", settings.store, settings.environment, provider)
        if not isinstance(made, KeyStore):
            raise CryptoError(f"RULEWARD_KEY_STORE: what {settings.store} makes is no key store.")
        store = made
    store.ring()
    return provider, store


def _demo_passphrase(keys: Path) -> str:
    """Return the passphrase of a demonstration, made at its first start."""
    path = keys.with_name("demo-passphrase")
    if not path.exists():
        if keys.exists():
            raise CryptoError(
                f"{keys} is there without its passphrase."
                " Set RULEWARD_KEY_PASSPHRASE or RULEWARD_KEY_PASSPHRASE_FILE."
            )
        path.parent.mkdir(parents=True, exist_ok=True)
        new = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
        with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as out:
            out.write(secrets.token_urlsafe(24))
        try:
            os.link(new, path)  # refuses to replace what a quicker process has put there
        except FileExistsError:
            pass
        finally:
            new.unlink()
    _LOG.warning(
        "DEMO MODE: the passphrase of the keys lies beside them in %s. Whoever reads this folder reads every"
        " patient's data. Never run this with real patients: set RULEWARD_KEY_PASSPHRASE_FILE.",
        path,
    )
    return path.read_text()
