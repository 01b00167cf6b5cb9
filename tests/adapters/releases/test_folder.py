"""The rules folder is read as data: no code, no links, no surprises of YAML."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from adapters.releases.folder import read_folder


def write(root: Path, name: str, text: str) -> None:
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


def test_a_comment_or_a_blank_does_not_move_the_meaning(tmp_path: Path) -> None:
    write(tmp_path / "a", "demo/ruleset.yaml", "id: demo\ntitle: {zh: 示例}\n")
    write(tmp_path / "b", "demo/ruleset.yaml", "# a page\nid:   demo\n\ntitle:\n  zh: 示例\n")
    assert read_folder(tmp_path / "a") == read_folder(tmp_path / "b")


def test_words_that_old_yaml_takes_for_booleans_stay_words(tmp_path: Path) -> None:
    write(tmp_path, "p.yaml", "on: yes\noff: no\nreally: true\nday: 2026-03-01\n")
    files, errors = read_folder(tmp_path)
    assert not errors
    expected = {"on": "yes", "off": "no", "really": True, "day": "2026-03-01"}
    assert json.loads(files["p.yaml"]) == expected


def test_line_ends_of_a_table_do_not_matter(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_bytes(b"a,b\r\n1,2\r\n")
    assert read_folder(tmp_path)[0] == {"t.csv": b"a,b\n1,2\n"}


def test_hidden_and_other_files_are_left_out(tmp_path: Path) -> None:
    for name in (".git/a.yaml", "x/.a.yaml.part", "__init__.py", "release.lock.json", "x/notes.md"):
        write(tmp_path, name, "a: 1\n")
    assert read_folder(tmp_path) == ({}, [])


@pytest.mark.parametrize(
    "text",
    [
        "a: [1, 2",
        "a: 1\na: 2\n",
        "a: !!python/object/apply:os.system ['true']\n",
        "a: 1\n---\nb: 2\n",
        "\x00",
        "? {a: 1}\n: 2\n",
        "[" * 5000,
    ],
)
def test_what_is_no_plain_yaml_is_refused_with_its_path(tmp_path: Path, text: str) -> None:
    write(tmp_path, "x/r.yaml", text)
    files, errors = read_folder(tmp_path)
    assert files == {}
    assert [error.where for error in errors] == ["rules/x/r.yaml"]
    assert errors[0].mend


def test_a_link_is_refused(tmp_path: Path) -> None:
    write(tmp_path / "outside", "secret.yaml", "a: 1\n")
    (tmp_path / "rules").mkdir()
    (tmp_path / "rules" / "r.yaml").symlink_to(tmp_path / "outside" / "secret.yaml")
    files, errors = read_folder(tmp_path / "rules")
    assert files == {}
    assert "link" in errors[0].what


def test_aliases_do_not_unfold_into_a_huge_file(tmp_path: Path) -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]" for i in range(1, 9)]
    write(tmp_path, "r.yaml", "\n".join(lines))
    files, errors = read_folder(tmp_path)
    assert files == {}
    assert errors
