"""Whoever may write into the rules folder, or into the database, can spoil a release but not the service."""

from __future__ import annotations

import os
import time
import zlib
from itertools import pairwise
from pathlib import Path
from typing import Protocol

import msgspec
import pytest

from adapters.gm_crypto.sm3 import sm3
from adapters.releases.bundle import load_last_good, pack, unpack
from adapters.releases.folder import read_folder
from api.publishing import examine_folder
from engine.errors import ReleaseError, RuleErrors
from engine.operators.matches_regex import OPERATOR

PAIRS = 200_000


class Folder(Protocol):
    RULE: str
    TABLE: str
    root: Path

    def write(self, path: str, text: str) -> None: ...
    def read(self, path: str) -> str: ...
    def replace(self, path: str, old: str, new: str) -> None: ...


BOMBS = {
    "lists, never closed": "[" * PAIRS,
    "lists": "[" * PAIRS + "]" * PAIRS,
    "mappings": "{a: " * PAIRS + "1" + "}" * PAIRS,
    "lists without brackets": "- " * PAIRS + "x",
    "indented": "\n".join(" " * depth + "a:" for depth in range(1000)),
    "aliases that double": "\n".join(
        ["a: &a [x, x]", *(f"{n}: &{n} [*{p}, *{p}]" for p, n in pairwise("abcdefghijkl"))]
    ),
    "a merge of itself": "a: &a\n  <<: *a\n",
    "a number of 200 000 digits": "a: " + "9" * PAIRS,
    "a key that is a list": "? [a, b]\n: 1\n",
    "two documents": "a: 1\n---\na: 2\n",
    "larger than a rule can be": "a: " + "x" * (1024 * 1024),
}  # fmt: skip


@pytest.mark.parametrize("kind", BOMBS)
def test_a_yaml_bomb_is_refused_soon_and_the_process_lives(tmp_path: Path, kind: str) -> None:
    (tmp_path / "r.yaml").write_text(BOMBS[kind])
    began = time.process_time()
    files, errors = read_folder(tmp_path)
    assert files == {}
    assert [error.where for error in errors] == ["rules/r.yaml"]
    assert time.process_time() - began < 20  # it took minutes, or the whole process, before there were limits


TAGS = (
    "!!python/object/apply:os.system ['touch pwned']",
    "!!python/object/new:subprocess.Popen [['touch', 'pwned']]",
    "!!python/name:os.system ''",
    "!!python/module:os ''",
    "!!map {a: !!python/tuple [1]}",
    "!<tag:yaml.org,2002:python/object/apply:os.system> ['touch pwned']",
    "!ruleward x",
)


@pytest.mark.parametrize("tag", TAGS)
def test_a_tag_makes_no_object(tmp_path: Path, tag: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "r.yaml").write_text(f"a: {tag}\n")
    files, errors = read_folder(tmp_path)
    assert files == {}
    assert len(errors) == 1
    assert not (tmp_path / "pwned").exists()


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("12:30", b'"12:30"'), ("1:59:59", b'"1:59:59"'), ("010", b'"010"'), (".nan", b'".nan"'),
        (".inf", b'".inf"'), ("1_000", b'"1_000"'), ("0x1F", b'"0x1F"'), ("12", b"12"), ("-3.5", b"-3.5"),
        ("1.5e+3", b"1500.0"),
    ],
)  # fmt: skip
def test_what_old_yaml_takes_for_a_number_stays_a_word(tmp_path: Path, written: str, read: bytes) -> None:
    (tmp_path / "r.yaml").write_text(f"a: {written}\n")
    assert read_folder(tmp_path)[0] == {"r.yaml": b'{"a":' + read + b"}"}


def test_links_pipes_and_folders_bring_nothing_in_from_outside(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.mkdir()
    (secret / "key.yaml").write_text("canary: 4711\n")
    root = tmp_path / "rules"
    root.mkdir()
    (root / "link.yaml").symlink_to(secret / "key.yaml")
    (root / "dead.yaml").symlink_to(tmp_path / "nothing")
    (root / "round").symlink_to(root)
    (root / "folder").symlink_to(secret)
    (root / "folder.yaml").mkdir()
    os.mkfifo(root / "pipe.yaml")  # reading it would wait for ever
    files, errors = read_folder(root)
    assert files == {}
    assert {Path(error.where).name for error in errors} == {
        "link.yaml", "dead.yaml", "folder.yaml", "pipe.yaml",
    }  # fmt: skip


HOSTILE_PATHS = ("../evil.yaml", "/etc/cron.d/evil.yaml", "a/../../evil.yaml", "..\\evil.yaml", "a\x00b.yaml",
                 "demo/sex_limit/../../rule.yaml", "\u202egro.yaml")  # fmt: skip


@pytest.mark.parametrize("path", HOSTILE_PATHS)
def test_a_path_in_a_bundle_never_becomes_a_file(
    tmp_path: Path, path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from engine.release import read_release

    monkeypatch.chdir(tmp_path)
    name, blob = pack({path: b"{}"}, sm3)
    files = unpack(blob, name, sm3)
    _, errors = read_release(files, sm3)
    assert any("has no place here" in str(error) for error in errors)
    assert list(tmp_path.rglob("*")) == []


def test_a_zip_bomb_in_the_database_or_on_disk_is_let_go_early(tmp_path: Path) -> None:
    bomb = zlib.compress(b"\x00" * 64 * 1024 * 1024, 9)
    assert len(bomb) < 100_000
    with pytest.raises(ReleaseError, match="larger than"):
        unpack(bomb, "x", sm3, largest=1024 * 1024)
    nested = zlib.compress(msgspec.msgpack.encode({"manifest": 1, "files": {}}))
    with pytest.raises(ReleaseError):
        unpack(nested, "x", sm3)
    deep = zlib.compress(b"\x91" * 1_000_000)
    with pytest.raises(ReleaseError):
        unpack(deep, "x", sm3)
    (tmp_path / "last-good.release").write_bytes(b"x\n" + bomb)
    loaded = load_last_good(tmp_path)
    assert loaded is not None
    with pytest.raises(ReleaseError):
        unpack(loaded[1], loaded[0], sm3, largest=1024 * 1024)


def test_a_release_under_another_ones_name_is_refused() -> None:
    old, _ = pack({"a.yaml": b"1"}, sm3)
    _, blob = pack({"a.yaml": b"2"}, sm3)
    with pytest.raises(ReleaseError):
        unpack(blob, old, sm3)


def deep_condition(depth: int) -> str:
    return "not: {" * depth + "name: patient.sex, operator: equal_to, value: male" + "}" * depth


@pytest.mark.parametrize("depth", [25, 50, 200])
def test_a_condition_nested_without_end_is_a_fault_of_the_rule(rules_folder: Folder, depth: int) -> None:
    text = rules_folder.read(rules_folder.RULE)
    begin, end = text.index("when:"), text.index("then:")
    rules_folder.write(rules_folder.RULE, f"{text[:begin]}when: {{{deep_condition(depth)}}}\n{text[end:]}")
    with pytest.raises(RuleErrors) as raised:
        examine_folder(rules_folder.root, sm3)
    assert any("deep" in str(error) for error in raised.value.errors)


PATTERNS = ("(a+)+$", "(a|a)*$", "(a|aa)+$", "([a-zA-Z]+)*$", "(.*a){25}", "^(([a-z])+.)+[A-Z]([a-z])+$")


@pytest.mark.parametrize("pattern", PATTERNS)
def test_a_pattern_that_backtracks_for_ever_elsewhere_is_quick_here(pattern: str) -> None:
    began = time.process_time()
    OPERATOR.py("a" * 50_000 + "!", pattern)
    assert time.process_time() - began < 5  # linear; with backtracking the sun goes out first


@pytest.mark.parametrize("pattern", ["(?=a)b", r"(a)\1", "(?P>x)", "a{1001}", "((a{100}){100}){100}", "["])
def test_a_pattern_that_is_not_linear_fails_lint(rules_folder: Folder, pattern: str) -> None:
    rules_folder.replace(
        rules_folder.RULE,
        "  all:\n",
        f"  all:\n    - {{name: order.name, operator: matches_regex, value: '{pattern}'}}\n",
    )
    with pytest.raises(RuleErrors) as raised:
        examine_folder(rules_folder.root, sm3)
    assert any(error.check == "R18" for error in raised.value.errors), raised.value.errors


@pytest.mark.parametrize(
    "word", ["__class__", "patient.__class__.__mro__", "order.name.__len__", "os.system"]
)
def test_a_name_in_a_rule_or_message_reaches_facts_and_nothing_else(rules_folder: Folder, word: str) -> None:
    rules_folder.replace(rules_folder.RULE, "{order.name} is for", f"{{{word}}} is for")
    with pytest.raises(RuleErrors):
        examine_folder(rules_folder.root, sm3)


@pytest.mark.parametrize("cell", ["=1+1", "+1", "@SUM(A1)", "-2+3|cmd|' /C calc'!A0"])
def test_a_formula_in_a_table_stays_text(rules_folder: Folder, cell: str) -> None:
    rules_folder.write(
        rules_folder.TABLE, rules_folder.read(rules_folder.TABLE) + f'"{cell}",male,B,single,2026-01-08\n'
    )
    examine_folder(rules_folder.root, sm3)  # an author may write it; no one here computes it
