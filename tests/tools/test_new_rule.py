"""The skeleton of a rule is a rule that works."""

from __future__ import annotations

from pathlib import Path

import pytest

from adapters.releases.folder import read_folder
from engine.cases import run_cases
from engine.lint import examine
from engine.release import read_release
from tools.new_rule import write


def test_a_new_rule_is_clean_and_its_cases_hold(tmp_path: Path) -> None:
    write("dosage/my_rule", tmp_path)
    files, unreadable = read_folder(tmp_path)
    release, faults = read_release(files, lambda content: f"length:{len(content)}")
    snapshot, problems = examine(release)
    assert [*unreadable, *faults, *problems] == []
    ran = list(run_cases(release, snapshot))
    assert [case.expect for _, case, _ in ran] == ["fires", "silent", "not_checked"]
    assert [wrong for _, _, wrong in ran if wrong] == []


def test_a_ruleset_that_exists_keeps_its_page(tmp_path: Path) -> None:
    (tmp_path / "dosage").mkdir()
    (tmp_path / "dosage/ruleset.yaml").write_text("id: dosage\n", encoding="utf-8")
    write("dosage/my_rule", tmp_path)
    assert (tmp_path / "dosage/ruleset.yaml").read_text(encoding="utf-8") == "id: dosage\n"


def test_a_rule_that_exists_is_not_overwritten(tmp_path: Path) -> None:
    write("dosage/my_rule", tmp_path)
    with pytest.raises(ValueError, match="exists already"):
        write("dosage/my_rule", tmp_path)


@pytest.mark.parametrize(
    "name", ["", "dosage", "dosage/", "../up/one", "Dosage/Rule", "knowledge/x", "a/b/c"]
)
def test_a_name_that_is_no_ruleset_and_rule_is_refused_with_an_example(name: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="for example"):
        write(name, tmp_path)
    assert list(tmp_path.iterdir()) == []
