"""Sign tokens with a key that is changed every month, and show the public keys for as long as tokens live."""

from __future__ import annotations

import datetime as dt
import json
import secrets
import threading
import time
from typing import Final, Protocol

from joserfc import jwk, jwt

from engine.identity import Seal, SigningKey, key_place
from engine.ports import Clock

__all__ = ["ALGORITHM", "KeyRing"]

ALGORITHM: Final = "ES256"
_CURVE: Final = "P-256"
_SIGNS: Final = dt.timedelta(days=30)
_SHOWN: Final = dt.timedelta(days=1)
_LOOK_SECONDS: Final = 60.0
_PAUSE_SECONDS: Final = 1.0


class Store(Protocol):
    """Where keys lie, sealed."""

    def put_key(self, key: SigningKey, /) -> None: ...

    def keys(self, at: dt.datetime, /) -> tuple[SigningKey, ...]: ...


class KeyRing:
    """The signing keys of the embedded provider; shared by all workers through the store."""

    def __init__(self, store: Store, seal: Seal, clock: Clock) -> None:
        self._store, self._seal, self._clock = store, seal, clock
        self._shown: dict[str, jwk.Key] = {}
        self._signing: tuple[str, jwk.Key, dt.datetime] | None = None
        self._looked_at = float("-inf")
        self._trouble: Exception | None = None
        self._lock = threading.Lock()

    def sign(self, claims: dict[str, object], kind: str) -> str:
        """Return a signed JWT; ``kind`` is its ``typ``."""
        kid, key = self.current()
        return jwt.encode({"alg": ALGORITHM, "kid": kid, "typ": kind}, claims, key, [ALGORITHM])

    def current(self) -> tuple[str, jwk.Key]:
        """Return the id of the key that signs now, and the key; makes one when there is none."""
        with self._lock:
            at = self._clock()
            if self._signing is None or self._signing[2] <= at:
                self._load()
            if self._signing is None or self._signing[2] <= at:
                self._make(at)
                self._load()
            if self._signing is None:
                raise RuntimeError("a signing key was stored and is not there")
            return self._signing[0], self._signing[1]

    def rotate(self) -> None:
        """Sign with a new key from now on; the old ones stay shown until their tokens are dead."""
        with self._lock:
            self._make(self._clock())
            self._load()

    def shown(self) -> dict[str, object]:
        """Return the JWK Set."""
        with self._lock:
            if time.monotonic() - self._looked_at > _LOOK_SECONDS:
                self._load()
            return {"keys": [key.as_dict(private=False) for key in self._shown.values()]}

    async def find(self, kid: str) -> jwk.Key | None:
        """Return the public key; asks the store at most once a second for one that is unknown."""
        key = self._shown.get(kid)
        # While somebody looks, the others wait: what he finds may be theirs. A worker begins without keys.
        if key is None and (
            self._lock.locked()
            or self._trouble is not None
            or time.monotonic() - self._looked_at > _PAUSE_SECONDS
        ):
            import asyncio

            await asyncio.to_thread(self._look)
            key = self._shown.get(kid)
        return key

    def _look(self) -> None:
        with self._lock:
            if time.monotonic() - self._looked_at > _PAUSE_SECONDS:
                self._trouble = None
                try:
                    self._load()
                except Exception as error:
                    self._trouble = error
                    raise
            elif self._trouble is not None:  # the store is away, which does not make a key unknown
                raise self._trouble.with_traceback(None)

    def _load(self) -> None:
        at = self._clock()
        self._looked_at = time.monotonic()
        held = self._store.keys(at)
        self._shown = {one.kid: jwk.import_key(json.loads(one.public)) for one in held}
        self._signing = None
        for one in held:
            if one.signs_from <= at < one.signs_until:
                private = jwk.import_key(json.loads(self._seal.open(one.private, key_place(one.kid))))
                self._signing = (one.kid, private, one.signs_until)
                return

    def _make(self, at: dt.datetime) -> None:
        kid = secrets.token_urlsafe(12)
        made = jwk.ECKey.generate_key(_CURVE, {"kid": kid, "use": "sig", "alg": ALGORITHM})
        private = json.dumps(made.as_dict(private=True)).encode()
        self._store.put_key(
            SigningKey(
                kid=kid,
                algorithm=ALGORITHM,
                private=self._seal.seal(private, key_place(kid)),
                public=json.dumps(made.as_dict(private=False)),
                signs_from=at,
                signs_until=at + _SIGNS,
                shown_until=at + _SIGNS + _SHOWN,
            )
        )
