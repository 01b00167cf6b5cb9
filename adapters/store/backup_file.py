"""Write a backup as a file that shows every change to it, sealed where there are keys.

A line that names the format, a line of JSON (the header), then pieces, each after its length in four bytes;
a length of 0 ends them and 32 bytes of SM3 over all pieces follow. A sealed piece is bound to the header,
its number, and whether it is the last: pieces of two backups cannot be mixed, swapped or cut off.
"""

from __future__ import annotations

import datetime as dt
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO, Final

import msgspec
from cryptography.hazmat.primitives import hashes

from adapters.store.database import StoreError
from adapters.store.sealing import Seal

__all__ = ["Header", "read_backup", "read_header", "write_backup"]

_FORMAT: Final = b"RULEWARD-BACKUP 1\n"
_PIECE: Final = 1 << 20
_LONGEST: Final = 2 * _PIECE
_DIGEST_BYTES: Final = 32


class Header(msgspec.Struct, frozen=True, kw_only=True):
    """What a backup says of itself."""

    id: str
    kind: str  # sqlite | postgresql
    made_at: dt.datetime
    key: str  # id of the key that sealed it, empty for none
    chain: str
    index: int  # of the last audit entry in it
    digest: str


def write_backup(path: Path, header: Header, content: Iterable[bytes], seal: Seal) -> str:
    """Write a backup and return the SM3 digest of its file; the file appears only when it is whole."""
    partial = path.with_name(f".{path.name}.part")
    line = msgspec.json.encode(header) + b"\n"
    whole, pieces = _sm3(_FORMAT + line), _sm3()
    try:
        with os.fdopen(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as out:
            out.write(_FORMAT + line)
            for number, (piece, last) in enumerate(_evenly(content)):
                stored = (
                    seal.seal(piece, _context(line, number, last=last), header.key) if header.key else piece
                )
                record = len(stored).to_bytes(4) + stored
                pieces.update(stored)
                whole.update(record)
                out.write(record)
            end = bytes(4) + pieces.finalize()
            whole.update(end)
            out.write(end)
            out.flush()
            os.fsync(out.fileno())
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
    return f"sm3:{whole.finalize().hex()}"


def read_header(path: Path) -> Header:
    """Return what a backup says of itself; ``StoreError`` if the file is none."""
    with path.open("rb") as file:
        return _header(path, file)[0]


def read_backup(path: Path, seal: Seal) -> Iterator[bytes]:
    """Give what was backed up; ``StoreError`` or the keys' own error where anything was changed.

    The last words may be an error: go through it once before anything is done with it.
    """
    with path.open("rb") as file:
        header, line = _header(path, file)
        pieces, number = _sm3(), 0
        stored = _record(path, file)
        if stored is None:
            raise StoreError(f"{path} holds nothing. Bring another backup.")
        while stored is not None:
            following = _record(path, file)
            pieces.update(stored)
            context = _context(line, number, last=following is None)
            yield seal.open(stored, context) if header.key else stored
            stored, number = following, number + 1
        if file.read(_DIGEST_BYTES + 1) != pieces.finalize():
            raise _changed(path)


def _header(path: Path, file: IO[bytes]) -> tuple[Header, bytes]:
    if file.readline(len(_FORMAT)) != _FORMAT:
        raise StoreError(f"{path} is no backup of RuleWard, or of a newer one.")
    line = file.readline(_LONGEST)
    try:
        return msgspec.json.decode(line, type=Header), line
    except msgspec.DecodeError as error:
        raise _changed(path) from error


def _record(path: Path, file: IO[bytes]) -> bytes | None:
    length = file.read(4)
    size = int.from_bytes(length)
    if len(length) < 4 or size > _LONGEST:
        raise _changed(path)
    if size == 0:
        return None
    stored = file.read(size)
    if len(stored) < size:
        raise _changed(path)
    return stored


def _changed(path: Path) -> StoreError:
    return StoreError(f"{path} was altered or cut off. Bring another backup.")


def _evenly(content: Iterable[bytes]) -> Iterator[tuple[bytes, bool]]:
    """Give pieces of one size and say which is the last."""
    held = bytearray()
    for some in content:
        held += some
        while len(held) > _PIECE:
            yield bytes(held[:_PIECE]), False
            del held[:_PIECE]
    if held:
        yield bytes(held), True


def _context(line: bytes, number: int, *, last: bool) -> bytes:
    bound = _sm3(line).finalize().hex()
    return f"backup/{bound}/{number}/{'last' if last else 'more'}".encode()


def _sm3(content: bytes = b"") -> hashes.Hash:
    hasher = hashes.Hash(hashes.SM3())
    hasher.update(content)
    return hasher
