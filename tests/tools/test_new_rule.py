"""The skeleton of a rule is a rule that works."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from engine.rule import read_rule
from tools.new_rule import write


def test_a_new_rule_is_read_without_a_fault(tmp_path: Path) -> None:
    write("dosage/my_rule", tmp_path)
    page = yaml.safe_load((tmp_path / "dosage/my_rule/rule.yaml").read_text(encoding="utf-8"))
    rule, faults = read_rule(page, "rule.yaml")
    assert faults == []
    assert rule is not None
    assert rule.id == "dosage.my_rule"


def test_a_new_rule_has_a_case_of_each_kind(
    tmp_path: Path,
) -> None:
    write("dosage/my_rule", tmp_path)
    cases = yaml.safe_load((tmp_path / "dosage/my_rule/cases.yaml").read_text(encoding="utf-8"))
    assert [case["expect"] for case in cases] == ["fires", "silent", "not_checked"]


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
