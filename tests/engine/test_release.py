"""A release is read by path, its digests move with its meaning, and nothing may be altered."""

from __future__ import annotations

import hashlib
from typing import Any

import pytest

from engine.errors import ReleaseError
from engine.release import manifest_of, verify_files


def digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def test_a_manifest_lists_every_file_and_its_digest_moves_with_each() -> None:
    one = manifest_of({"b": b"2", "a": b"1"}, digest)
    assert list(one.files) == ["a", "b"]
    assert one == manifest_of({"a": b"1", "b": b"2"}, digest)
    assert one.digest != manifest_of({"a": b"1", "b": b"3"}, digest).digest
    assert one.digest != manifest_of({"a": b"1"}, digest).digest


@pytest.mark.parametrize(
    ("files", "named"),
    [({"a": b"1", "b": b"x"}, "b"), ({"a": b"1"}, "b"), ({"a": b"1", "b": b"2", "c": b"3"}, "c")],
)
def test_an_altered_missing_or_extra_file_is_named(files: dict[str, bytes], named: str) -> None:
    manifest = manifest_of({"a": b"1", "b": b"2"}, digest)
    verify_files({"a": b"1", "b": b"2"}, manifest, digest)
    with pytest.raises(ReleaseError, match=f"altered, missing or extra: {named}$"):
        verify_files(files, manifest, digest)


def test_a_forged_manifest_digest_is_refused() -> None:
    manifest = manifest_of({"a": b"1"}, digest)
    forged = type(manifest)(manifest.files, "0" * 64)
    with pytest.raises(ReleaseError, match="the manifest digest itself"):
        verify_files({"a": b"1"}, forged, digest)


def test_every_misplaced_or_unreadable_file_is_named(files: Any) -> None:
    files.put("notes.yaml", {}).put("demo/bad/rule.yaml", b"{").put("lost/one/rule.yaml", {})
    files.put("demo/ruleset.yaml", {"id": "demo"}).put("demo/two/rule.yaml", {"id": "x"})
    files.table("limits", ["code"], {"code": "text"}, "A").parameter("old", "number", ("2025-01-01", 1))
    files.put("knowledge/other.yaml", files.files["knowledge/limits.yaml"])
    files.files["knowledge/other.csv"] = files.files["knowledge/limits.csv"]
    files.files["parameters/young.yaml"] = files.files["parameters/old.yaml"]
    _, errors = files.read()
    places = {error.where for error in errors}
    assert places >= {
        "rules/notes.yaml",
        "rules/demo/bad/rule.yaml",
        "rules/lost/one/rule.yaml",
        "rules/demo/ruleset.yaml",
        "rules/knowledge/other.yaml: id",
        "rules/parameters/young.yaml: id",
    }
    assert all(error.mend for error in errors)


def test_a_rule_with_another_id_than_its_place_is_refused(files: Any) -> None:
    files.rule()
    files.files["demo/two/rule.yaml"] = files.files["demo/one/rule.yaml"]
    release, [error] = files.read()
    assert (error.where, error.what, error.mend) == (
        "rules/demo/two/rule.yaml: id",
        "is demo.one.",
        "Write demo.two.",
    )
    assert [rule.id for rule in release.rules] == ["demo.one"]
