"""Carry a release as one blob, in the database and on disk; what comes back is verified first."""

from __future__ import annotations

import os
import zlib
from collections.abc import Mapping
from pathlib import Path

import msgspec

from engine.errors import ReleaseError
from engine.ports import Digest
from engine.release import Manifest, manifest_of, verify_files

__all__ = ["load_last_good", "pack", "save_last_good", "unpack"]

_LARGEST = 512 * 1024 * 1024
_FILE = "last-good.release"


class _Bundle(msgspec.Struct, forbid_unknown_fields=True):
    manifest: Manifest
    files: dict[str, bytes]


def pack(files: Mapping[str, bytes], digest: Digest) -> tuple[str, bytes]:
    """Return the digest of a release and its blob."""
    manifest = manifest_of(files, digest)
    return manifest.digest, zlib.compress(msgspec.msgpack.encode(_Bundle(manifest, dict(files))), level=1)


def unpack(blob: bytes, wanted: str, digest: Digest) -> dict[str, bytes]:
    """Return the files of a blob. Raises ``ReleaseError`` unless they are the release of that digest."""
    try:
        inflater = zlib.decompressobj()
        content = inflater.decompress(blob, _LARGEST)
        if inflater.unconsumed_tail or not inflater.eof or inflater.unused_data:
            raise ReleaseError("cut off, too large or with something behind its end")
        bundle = msgspec.msgpack.decode(content, type=_Bundle)
    except (zlib.error, msgspec.DecodeError) as error:
        raise ReleaseError(f"unreadable ({error})") from error
    verify_files(bundle.files, bundle.manifest, digest)
    if bundle.manifest.digest != wanted:
        raise ReleaseError(f"is {bundle.manifest.digest}, not {wanted}")
    return bundle.files


def save_last_good(folder: Path, name: str, blob: bytes) -> None:
    """Keep the release in force on disk, so that a restart without the database still decides."""
    folder.mkdir(parents=True, exist_ok=True)
    partial = folder / f".{_FILE}.{os.getpid()}"
    with partial.open("wb") as file:
        file.write(name.encode() + b"\n" + blob)
        file.flush()
        os.fsync(file.fileno())
    partial.replace(folder / _FILE)


def load_last_good(folder: Path) -> tuple[str, bytes] | None:
    """Return (digest, blob) of the last good release on disk, unverified, or ``None``."""
    try:
        content = (folder / _FILE).read_bytes()
    except FileNotFoundError:
        return None
    name, _, blob = content.partition(b"\n")
    return name.decode(errors="replace"), blob
