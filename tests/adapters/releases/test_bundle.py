"""What comes out of a database or off a disk is believed only as far as its digests go."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from adapters.gm_crypto.sm3 import sm3
from adapters.releases.bundle import load_last_good, pack, save_last_good, unpack
from engine.errors import ReleaseError

FILES = {"demo/ruleset.yaml": b'{"id":"demo"}', "knowledge/t.csv": b"a,b\n1,2\n", "knowledge/t.yaml": b"{}"}
NAME, BLOB = pack(FILES, sm3)


def opened() -> dict[str, Any]:
    plain: dict[str, Any] = msgspec.msgpack.decode(zlib.decompress(BLOB))
    return plain


def closed(plain: object) -> bytes:
    return zlib.compress(msgspec.msgpack.encode(plain))


def changed(change: Callable[[dict[str, Any]], object]) -> bytes:
    plain = opened()
    change(plain)
    return closed(plain)


def rehashed(change: Callable[[dict[str, Any]], object]) -> bytes:
    """Return a release that is whole in itself, but another one."""
    plain = opened()
    change(plain["files"])
    return pack(plain["files"], sm3)[1]


def renamed(files: dict[str, Any]) -> None:
    files["knowledge/u.csv"] = files.pop("knowledge/t.csv")


def exchanged(files: dict[str, Any]) -> None:
    files["knowledge/t.csv"], files["knowledge/t.yaml"] = files["knowledge/t.yaml"], files["knowledge/t.csv"]


TAMPERED: dict[str, bytes] = {
    "a file altered": changed(lambda b: b["files"].update({"knowledge/t.csv": b"a,b\n1,3\n"})),
    "a file extra": changed(lambda b: b["files"].update({"demo/x/rule.yaml": b"{}"})),
    "a file missing": changed(lambda b: b["files"].pop("knowledge/t.csv")),
    "a file renamed": changed(lambda b: renamed(b["files"])),
    "two files exchanged": changed(lambda b: exchanged(b["files"])),
    "a path above the folder": changed(lambda b: b["files"].update({"../outside.yaml": b"{}"})),
    "all files gone": changed(lambda b: b["files"].clear()),
    "a digest altered": changed(lambda b: b["manifest"]["files"].update({"knowledge/t.csv": NAME})),
    "a digest of another algorithm": changed(lambda b: b["manifest"].update({"digest": "md5:" + "0" * 32})),
    "the digest empty": changed(lambda b: b["manifest"].update({"digest": ""})),
    "the manifest without files": changed(lambda b: b["manifest"]["files"].clear()),
    "no manifest": changed(lambda b: b.pop("manifest")),
    "a manifest with something more": changed(lambda b: b["manifest"].update({"signed": True})),
    "something more beside the manifest": changed(lambda b: b.update({"skip": ["knowledge/t.csv"]})),
    "another release, whole in itself": rehashed(lambda f: f.update({"knowledge/t.csv": b"a,b\n1,3\n"})),
    "an older release, whole in itself": rehashed(lambda f: f.pop("knowledge/t.csv")),
    "files as text": changed(lambda b: b["files"].update({"knowledge/t.csv": "text"})),
    "a list instead of a bundle": closed([1, 2]),
    "nothing": b"",
    "no zlib": b"release",
    "cut off": BLOB[: len(BLOB) // 2],
    "its last byte cut off": BLOB[:-1],
    "a bit turned": BLOB[:20] + bytes([BLOB[20] ^ 1]) + BLOB[21:],
    "something behind its end": BLOB + b"more",
    "twice": BLOB + BLOB,
    "something behind the bundle": zlib.compress(zlib.decompress(BLOB) + b"\xc0"),
    "nested too deeply": zlib.compress(b"\x91" * 100_000 + b"\xc0"),
    "a bomb": zlib.compress(b"\x00" * 30_000_000),
}  # fmt: skip


@pytest.mark.parametrize("kind", TAMPERED)
def test_a_tampered_bundle_is_refused(kind: str) -> None:
    with pytest.raises(ReleaseError):
        unpack(TAMPERED[kind], NAME, sm3, largest=10_000_000)


def test_a_bundle_comes_back_as_it_was_packed() -> None:
    assert unpack(BLOB, NAME, sm3) == FILES


def test_a_bomb_is_not_unpacked_to_its_end() -> None:
    rests: list[None] = []
    with pytest.raises(ReleaseError, match="larger than 1000000 bytes"):
        unpack(
            zlib.compress(b"\x00" * 100_000_000),
            NAME,
            sm3,
            largest=1_000_000,
            rest=lambda: rests.append(None),
        )
    assert len(rests) < 10


def test_every_byte_that_is_altered_is_noticed() -> None:
    noticed = 0
    for at in range(len(BLOB)):
        try:
            files = unpack(BLOB[:at] + bytes([BLOB[at] ^ 0x55]) + BLOB[at + 1 :], NAME, sm3)
        except ReleaseError:
            noticed += 1
        else:
            assert files == FILES  # a byte of the wrapping that carries nothing
    assert noticed >= len(BLOB) - 2


def test_the_last_good_release_is_read_back_from_disk(tmp_path: Path) -> None:
    assert load_last_good(tmp_path / "data") is None
    save_last_good(tmp_path / "data", NAME, BLOB)
    assert load_last_good(tmp_path / "data") == (NAME, BLOB)


def test_a_disk_that_refuses_leaves_nothing_half_written(tmp_path: Path) -> None:
    save_last_good(tmp_path, NAME, BLOB)
    (tmp_path / "last-good.release").unlink()
    (tmp_path / "last-good.release").mkdir()
    with pytest.raises(OSError):
        save_last_good(tmp_path, NAME, BLOB)
    assert [path.name for path in tmp_path.iterdir()] == ["last-good.release"]
