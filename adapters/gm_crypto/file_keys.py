"""Keep keys in one file under a passphrase: the key store of a site without a KMS or HSM.

Argon2id (RFC 9106) makes two keys of the passphrase: one wraps each key by SM4-GCM, one authenticates the
whole file by HMAC-SM3, states and dates included. The file has mode 0600 and is replaced in one step.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import fcntl
import os
import secrets
import stat
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import msgspec
from cryptography.hazmat.primitives.kdf.argon2 import Argon2id

from adapters.gm_crypto import sm3, sm4
from adapters.gm_crypto.keys import Key, KeyRing, State, Use
from adapters.gm_crypto.provider import CryptoError, Provider
from adapters.gm_crypto.sm2_keys import public_to_pem

__all__ = ["MODERATE", "Cost", "FileKeyStore"]

_FORMAT: Final = "ruleward-keys/1"
_OPEN_TO_OTHERS: Final = stat.S_IRWXG | stat.S_IRWXO


class Cost(msgspec.Struct, frozen=True):
    """What one guess of the passphrase costs."""

    passes: int
    memory: int
    """KiB."""

    lanes: int


MODERATE: Final = Cost(passes=3, memory=64 * 1024, lanes=4)
"""RFC 9106 section 4, second recommended option: 0.13 s."""

_WITHIN_REASON: Final = Cost(passes=100, memory=4 * 1024 * 1024, lanes=64)


class _Kept(msgspec.Struct, frozen=True):
    """A key as the file has it."""

    id: str
    use: Use
    state: State
    made_at: dt.datetime
    wrapped: bytes
    public: str = ""  # PEM, of a signing key: for whoever verifies without the passphrase


class _File(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    format: str
    provider: str
    cost: Cost
    salt: bytes
    keys: tuple[_Kept, ...]
    mac: bytes = b""


class FileKeyStore:
    """Fulfil ``KeyStore`` with the file ``path``, made with fresh keys when it is not there.

    Raises ``CryptoError`` when the passphrase is another's, or the file is altered, open to others or from
    another provider. Whoever loses file or passphrase loses what the keys sealed.
    """

    def __init__(self, path: Path, passphrase: str, provider: Provider, *, cost: Cost = MODERATE) -> None:
        self._path = path
        self._passphrase = passphrase.encode()
        self._provider = provider
        self._cost = cost
        self._lock = threading.Lock()
        self._seen: tuple[int, ...] | None = None
        self._ring = KeyRing(())
        self._wrapping: tuple[bytes, Cost, bytes] | None = None  # salt, cost and the 32 bytes they gave

    def ring(self) -> KeyRing:
        """Return the keys, read anew if the file has changed."""
        with self._lock:
            if not self._path.exists():
                self._make()
            mark = self._mark()
            if mark != self._seen:
                self._ring = self._opened(self._read())
                self._seen = mark
            return self._ring

    def rotate(self, use: Use, /) -> Key:
        """Make a new active key."""
        if use is Use.BLIND:
            raise CryptoError(
                "The key of the blind index cannot rotate: searches need one key over all rows."
            )
        self.ring()
        with self._writing() as file:
            key = self._new_key(use, {kept.id for kept in file.keys})
            older = [
                msgspec.structs.replace(kept, state=State.OLD)
                if kept.use is use and kept.state is State.ACTIVE
                else kept
                for kept in file.keys
            ]
            self._write(msgspec.structs.replace(file, keys=(*older, self._kept(file, key))))
        return key

    def retire(self, key_id: str, /) -> None:
        """Note that nothing is under this key any more."""
        self.ring()
        with self._writing() as file:
            found = next((kept for kept in file.keys if kept.id == key_id), None)
            if found is None or found.state is State.ACTIVE:
                raise CryptoError(
                    f"Key {key_id} is {'active' if found else 'unknown'}: it cannot be retired."
                )
            kept = tuple(
                msgspec.structs.replace(one, state=State.RETIRED) if one is found else one
                for one in file.keys
            )
            self._write(msgspec.structs.replace(file, keys=kept))

    def change_passphrase(self, passphrase: str) -> None:
        """Wrap all keys anew; services that run keep their keys and need the new one when they start."""
        ring = self.ring()
        with self._writing() as file:
            self._passphrase = passphrase.encode()
            fresh = msgspec.structs.replace(file, salt=secrets.token_bytes(16), cost=self._cost, keys=())
            self._write(
                msgspec.structs.replace(fresh, keys=tuple(self._kept(fresh, key) for key in ring.keys))
            )

    def _make(self) -> None:
        """Make the file with one key of each use, unless another process is quicker."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        file = _File(_FORMAT, self._provider.name, self._cost, secrets.token_bytes(16), ())
        keys: list[Key] = []
        for use in Use:
            keys.append(self._new_key(use, {key.id for key in keys}))
        file = msgspec.structs.replace(file, keys=tuple(self._kept(file, key) for key in keys))
        with self._locked():
            if not self._path.exists():
                self._write(file)

    def _new_key(self, use: Use, taken: set[str]) -> Key:
        key_id = secrets.token_hex(4)
        while key_id in taken:
            key_id = secrets.token_hex(4)
        make = self._provider.new_signing_key if use is Use.SIGN else self._provider.new_key
        return Key(key_id, use, State.ACTIVE, dt.datetime.now(dt.UTC), make())

    def _kept(self, file: _File, key: Key) -> _Kept:
        wrap, _ = self._wrapping_keys(file)
        wrapped = sm4.encrypt(wrap, key.material, _place(key.id, key.use))
        public = public_to_pem(self._provider.public_key(key.material)) if key.use is Use.SIGN else ""
        return _Kept(key.id, key.use, key.state, key.made_at, wrapped, public)

    def _opened(self, file: _File) -> KeyRing:
        wrap, _ = self._wrapping_keys(file)
        keys: list[Key] = []
        for kept in file.keys:
            material = sm4.decrypt(wrap, kept.wrapped, _place(kept.id, kept.use))
            if material is None:
                raise CryptoError(
                    f"{self._path}: key {kept.id} does not open. Restore the file from a backup."
                )
            keys.append(Key(kept.id, kept.use, kept.state, kept.made_at, material))
        return KeyRing(tuple(keys))

    def _read(self) -> _File:
        """Return the file, authenticated."""
        try:
            file = msgspec.json.decode(self._path.read_bytes(), type=_File)
        except (OSError, msgspec.DecodeError, UnicodeDecodeError) as error:
            raise CryptoError(f"{self._path} is no key file ({error}). Restore it from a backup.") from error
        if file.format != _FORMAT:
            raise CryptoError(f"{self._path} is a key file of another RuleWard: {file.format}.")
        if file.provider != self._provider.name:
            raise CryptoError(
                f"{self._path} holds keys of the provider {file.provider}, not of {self._provider.name}."
                " Set RULEWARD_CRYPTO_PROVIDER to that one."
            )
        bounds = zip(msgspec.structs.astuple(file.cost), msgspec.structs.astuple(_WITHIN_REASON), strict=True)
        if not all(1 <= stated <= bound for stated, bound in bounds) or len(file.salt) < 16:
            raise CryptoError(f"{self._path}: the cost of the passphrase is out of all reason.")
        if not secrets.compare_digest(file.mac, self._mac(file)):
            raise CryptoError(f"{self._path}: the passphrase is not the file's, or the file was altered.")
        return file

    def _write(self, file: _File) -> None:
        """Put the file in place in one step, synced, readable by its owner only."""
        file = msgspec.structs.replace(file, mac=self._mac(file))
        new = self._path.with_name(f".{self._path.name}.{secrets.token_hex(4)}")
        try:
            with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as out:
                out.write(msgspec.json.format(msgspec.json.encode(file), indent=2) + b"\n")
                out.flush()
                os.fsync(out.fileno())
            new.replace(self._path)
        finally:
            new.unlink(missing_ok=True)
        folder = os.open(self._path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)

    @contextlib.contextmanager
    def _writing(self) -> Iterator[_File]:
        """Give the file as it is now, while no other process writes it."""
        with self._lock, self._locked():
            yield self._read()

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        # A file beside it: the key file itself is replaced, and a lock on what was replaced holds nobody.
        lock = os.open(self._path.with_name(f".{self._path.name}.lock"), os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield
        finally:
            os.close(lock)

    def _mark(self) -> tuple[int, ...]:
        """Return what changes when the file is replaced."""
        state = self._path.stat()
        if state.st_mode & _OPEN_TO_OTHERS:
            raise CryptoError(f"{self._path} is open to other users. Write: chmod 600 {self._path}")
        return (state.st_ino, state.st_mtime_ns, state.st_size)

    def _mac(self, file: _File) -> bytes:
        _, authenticating = self._wrapping_keys(file)
        bare = msgspec.structs.replace(file, mac=b"")
        return sm3.mac(authenticating, msgspec.json.encode(bare, order="deterministic"))

    def _wrapping_keys(self, file: _File) -> tuple[bytes, bytes]:
        """Return the key that wraps and the one that authenticates; remembered, as it takes a while."""
        known = self._wrapping
        if known is None or known[:2] != (file.salt, file.cost):
            made = Argon2id(
                salt=file.salt,
                length=2 * sm4.KEY_BYTES,
                iterations=file.cost.passes,
                lanes=file.cost.lanes,
                memory_cost=file.cost.memory,
            ).derive(self._passphrase)
            known = self._wrapping = (file.salt, file.cost, made)
        return known[2][: sm4.KEY_BYTES], known[2][sm4.KEY_BYTES :]


def _place(key_id: str, use: Use) -> bytes:
    """Bind a wrapped key to its id and use, so that none can be put in another's place."""
    return f"{_FORMAT}/{use}/{key_id}".encode()
