"""Carry a release as one blob, in the database and on disk; what comes back is verified first."""

from __future__ import annotations

import os
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path

import msgspec

from engine.errors import ReleaseError
from engine.ports import Digest
from engine.release import Manifest, manifest_of, verify_files

__all__ = ["LARGEST", "load_last_good", "pack", "save_last_good", "unpack"]

LARGEST = 512 * 1024 * 1024
"""Bytes of an unpacked release; more is taken for a bomb."""

_FILE = "last-good.release"
_SLICE = 256 * 1024


class _Bundle(msgspec.Struct, forbid_unknown_fields=True):
    manifest: Manifest
    files: dict[str, bytes]


def _no_rest() -> None:
    return None


def pack(files: Mapping[str, bytes], digest: Digest) -> tuple[str, bytes]:
    """Return the digest of a release and its blob."""
    manifest = manifest_of(files, digest)
    return manifest.digest, zlib.compress(msgspec.msgpack.encode(_Bundle(manifest, dict(files))), level=1)


def unpack(
    blob: bytes,
    wanted: str,
    digest: Digest,
    *,
    largest: int = LARGEST,
    rest: Callable[[], None] = _no_rest,
) -> dict[str, bytes]:
    """Return the files of a blob. Raises ``ReleaseError`` unless they are the release of that digest.

    ``rest`` is called between slices of the work, so that others get their turn.
    """
    try:
        bundle = msgspec.msgpack.decode(_inflate(blob, largest, rest), type=_Bundle)
    except (zlib.error, msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        raise ReleaseError(f"unreadable ({error})") from error

    def digest_then_rest(content: bytes, /) -> str:
        rest()
        return digest(content)

    verify_files(bundle.files, bundle.manifest, digest_then_rest)
    if bundle.manifest.digest != wanted:
        raise ReleaseError(f"is {bundle.manifest.digest}, not {wanted}")
    return bundle.files


def _inflate(blob: bytes, largest: int, rest: Callable[[], None]) -> bytes:
    inflater = zlib.decompressobj()
    content = bytearray()
    left = blob
    while not inflater.eof:
        some = inflater.decompress(left, _SLICE)
        left = inflater.unconsumed_tail
        if not some and not left and not inflater.eof:
            raise ReleaseError("cut off")
        content += some
        if len(content) > largest:
            raise ReleaseError(f"larger than {largest} bytes when unpacked")
        rest()
    if inflater.unused_data:
        raise ReleaseError("followed by something behind its end")
    return bytes(content)


def save_last_good(folder: Path, name: str, blob: bytes) -> None:
    """Keep the release in force on disk, so that a restart without the database still decides.

    Several workers may do so at once: each writes a file of its own and the last one takes the name.
    """
    folder.mkdir(parents=True, exist_ok=True)
    partial = folder / f".{_FILE}.{os.getpid()}"
    try:
        with partial.open("wb") as file:
            file.write(name.encode() + b"\n" + blob)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(folder / _FILE)
        place = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(place)
        finally:
            os.close(place)
    except OSError:
        partial.unlink(missing_ok=True)
        raise


def load_last_good(folder: Path) -> tuple[str, bytes] | None:
    """Return (digest, blob) of the last good release on disk, unverified, or ``None``."""
    try:
        content = (folder / _FILE).read_bytes()
    except FileNotFoundError:
        return None
    name, _, blob = content.partition(b"\n")
    return name.decode(errors="replace"), blob
