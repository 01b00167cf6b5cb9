"""Seal anew what identity keeps secret: private halves of signing keys, and secrets of one-time codes.

They are few, and each value names its key itself. A value that is changed meanwhile stays as it was changed.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from typing import Final

import sqlalchemy as sa
from sqlalchemy.engine import Engine

from adapters.store.database import writing
from adapters.store.identity_tables import account, signing_key
from adapters.store.resealing import Resealed
from engine.errors import RuleWardError
from engine.identity import Seal, key_place, one_time_place

__all__ = ["KeyOf", "reseal_secrets", "secrets_by_key"]

_LOG: Final = logging.getLogger(__name__)

KeyOf = Callable[[bytes], str]
"""Tells which key a sealed value names; empty: none of the data keys."""

_Secret = tuple[sa.ColumnElement[str], sa.ColumnElement[bytes | None], Callable[[str], str]]

_SECRETS: Final[tuple[_Secret, ...]] = (
    (signing_key.c.kid, signing_key.c.private, key_place),
    (account.c.id, account.c.totp_secret, one_time_place),
)


def reseal_secrets(engine: Engine, seal: Seal, key_of: KeyOf, active: str) -> Resealed:
    """Bring every secret under the key ``active``, with which ``seal`` seals."""
    done = refused = 0
    for (identity, column, place), name, sealed in _held(engine):
        if key_of(sealed) == active:
            continue
        try:
            fresh = seal.seal(seal.open(sealed, place(name)), place(name))
        except RuleWardError as error:
            _LOG.error("the secret of %s stays under key %s: %s", name, key_of(sealed) or "?", error)
            refused += 1
            continue
        assert isinstance(column, sa.Column)
        change = sa.update(column.table).where(identity == name, column == sealed).values({column: fresh})
        with writing(engine) as connection:
            done += connection.execute(change).rowcount
    return Resealed(done, refused)


def secrets_by_key(engine: Engine, key_of: KeyOf) -> dict[str, int]:
    """Return how many secrets are under each key's id; the empty id is of those under no data key."""
    counts: dict[str, int] = {}
    for _, _, sealed in _held(engine):
        counts[key_of(sealed)] = counts.get(key_of(sealed), 0) + 1
    return counts


def _held(engine: Engine) -> Iterator[tuple[_Secret, str, bytes]]:
    for secret in _SECRETS:
        identity, column, _ = secret
        with engine.connect() as connection:
            rows = connection.execute(sa.select(identity, column).where(column.is_not(None))).all()
        for name, sealed in rows:
            if sealed is not None:
                yield secret, name, bytes(sealed)
