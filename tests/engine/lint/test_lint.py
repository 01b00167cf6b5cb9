"""Each lint check says where the fault is, what it is and how to mend it."""

from __future__ import annotations

from typing import Any

import pytest

from engine.lint import CHECKS, examine

RULE = "rules/demo/one/rule.yaml"
AGE = "patient.age_years"


def leaf(name: str, operator: str, value: Any = None) -> dict[str, Any]:
    return {"name": name, "operator": operator} | ({} if value is None else {"value": value})


@pytest.fixture
def table(files: Any) -> Any:
    """Return files with a rule that joins a table by the code of a charge, and takes its level from it."""
    files.rule(
        for_each={"line": "charge"},
        match={"row": {"table": "limits", "on": {"code": "line.code"}}},
        when=leaf("line.quantity", "greater_than", {"name": "row.high"}),
        then={"level": {"name": "row.level"}, "message": {"zh": "超量", "en": "Too much"}},
    )

    def put(*rows: str) -> Any:
        types = {"code": "text", "high": "number", "level": "text", "name": "text"}
        return files.table("limits", ["code"], types, *rows)

    return put


def test_a_good_release_has_no_fault(files: Any, table: Any) -> None:
    table("A,1,warn,a", "B,2,block,b")
    _, errors = examine(files.release())
    assert [str(error) for error in errors] == []


def test_every_check_is_tested_here() -> None:
    tested = "C10 F10 K10 K11 K12 K13 K14 K15 R10 R11 R12 R13 R14 R15 R16 R17 R18"
    assert sorted(CHECKS) == tested.split()


def test_r10_a_rule_without_a_reference(files: Any) -> None:
    mend = "Name the document; leave read_on out if it was not read."
    assert files.rule(references=[]).lint("R10") == [(f"{RULE}: references", "are missing.", mend)]
    untitled = files.rule(references=[{"title": " "}]).lint("R10")
    assert untitled == [(f"{RULE}: references[0].title", "is empty.", "Name the document.")]


def test_r11_a_text_in_one_language_only(files: Any) -> None:
    files.rule(title={"zh": "规则", "en": ""})
    assert files.lint("R11") == [(f"{RULE}: title.en", "is empty.", "Say it in both languages.")]


def test_r12_a_rule_that_ends_before_it_begins(files: Any) -> None:
    files.rule(valid_to="2025-01-01")
    mend = "Write a later day; valid_to itself is no longer covered."
    what = "is 2025-01-01, but the rule holds from 2025-01-01."
    assert files.lint("R12") == [(f"{RULE}: valid_to", what, mend)]


def test_r13_a_parameter_that_begins_after_the_rule(files: Any) -> None:
    files.parameter("old", "number", ("2025-06-01", 80))
    files.rule(when=leaf(AGE, "greater_than", {"parameter": "old"}))
    mend = "Begin on 2025-06-01 or later, or give the earlier value in rules/parameters/old.yaml."
    what = "is 2025-01-01, when the parameter old has no value yet."
    assert files.lint("R13") == [(f"{RULE}: valid_from", what, mend)]


def test_r14_one_official_code_for_two_rules_at_a_time(files: Any) -> None:
    files.rule(official_code="GZ1", valid_to="2026-01-01").rule("two", official_code="GZ1")
    mend = "Let one end where the other begins, or leave the code to one of them."
    what = "is GZ1, which demo.one has on the same days."
    assert files.lint("R14") == [("rules/demo/two/rule.yaml: official_code", what, mend)]
    files.rule("two", official_code="GZ1", valid_from="2026-01-01")
    assert files.lint("R14") == []


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (leaf("patient.sex", "equal_to", "male"), leaf("patient.sex", "equal_to", "female")),
        (leaf("patient.sex", "equal_to", "male"), leaf("patient.sex", "is_one_of", ["female", "other"])),
        (leaf(AGE, "greater_than", 5), leaf(AGE, "less_than", 3)),
        (leaf(AGE, "greater_than", 5), leaf(AGE, "less_than", 5)),
        (leaf(AGE, "between", [1, 2]), leaf(AGE, "equal_to", 3)),
        (leaf(AGE, "is_known"), leaf(AGE, "is_unknown")),
    ],
)
def test_r15_conditions_that_exclude_each_other(files: Any, first: Any, second: Any) -> None:
    [(where, what, mend)] = files.rule(when={"all": [first, second]}).lint("R15")
    assert where == f"{RULE}: when.all[1]"
    assert what.startswith(f"can never hold together with when.all[0]: {first['name']} {first['operator']}")
    assert mend == "Take one away, or put them under any."
    assert files.rule(when={"any": [first, second]}).lint("R15") == []


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (leaf(AGE, "greater_than_or_equal_to", 5), leaf(AGE, "less_than_or_equal_to", 5)),
        (leaf(AGE, "greater_than", 3), leaf(AGE, "less_than", 5)),
        (leaf(AGE, "greater_than", 5), leaf("patient.weight_kg", "less_than", 3)),
        (leaf("patient.sex", "is_one_of", ["male"]), leaf("patient.sex", "equal_to", "male")),
        (leaf("patient.sex", "not_equal_to", "male"), leaf("patient.sex", "not_equal_to", "female")),
    ],
)
def test_r15_conditions_that_can_hold_together(files: Any, first: Any, second: Any) -> None:
    assert files.rule(when={"all": [first, second]}).lint("R15") == []


def test_r16_a_derived_value_that_nothing_reads(files: Any) -> None:
    files.rule(
        let={"many": {"count": "charge"}, "few": {"count": "charge"}}, when=leaf("few", "less_than", 1)
    )
    assert files.lint("R16") == [(f"{RULE}: let.many", "is never used.", "Use it or leave it out.")]
    files.rule(
        let={"many": {"count": "charge"}}, then={"level": "note", "message": {"zh": "{many}", "en": "{many}"}}
    )
    assert files.lint("R16") == []


def test_r17_a_retired_rule_without_a_reason(files: Any) -> None:
    mend = "Say when and why it was retired, and what replaces it."
    found = files.rule(status="retired").lint("R17")
    assert found == [(f"{RULE}: note", "is missing from a retired rule.", mend)]
    assert files.rule(status="retired", note="Replaced by demo.two on 2026-01-01.").lint("R17") == []


def test_r18_a_pattern_that_cannot_be_read(files: Any) -> None:
    [(where, what, mend)] = files.rule(when=leaf("visit.department", "matches_regex", "(?=a")).lint("R18")
    assert where == f"{RULE}: when.value"
    assert what.startswith("is '(?=a', no pattern (")
    assert mend == "Write an RE2 pattern: no look-around, no back-references."
    assert files.rule(when=leaf("visit.department", "matches_regex", "^0[1-3]")).lint("R18") == []


def test_c10_a_rule_without_cases(files: Any) -> None:
    place = "rules/demo/one/cases.yaml"
    missing = files.rule(cases=None).lint("C10")
    assert missing == [(place, "is missing.", "Write cases: fires, silent, not_checked.")]
    one = {"name": "a", "expect": "fires", "on": "2026-03-01", "facts": {}}
    assert files.rule(cases=[one, one]).lint("C10") == [
        (
            place,
            "has no case that expects silent or not_checked.",
            "Add one: a rule is believed by its cases.",
        ),
        (place, "names two cases 'a'.", "Say what each of them shows."),
    ]
    [(where, what, _)] = files.rule(cases=[{**one, "expect": "perhaps"}]).lint("C10")
    assert where == f"{place}: [0].expect"
    assert what == "Invalid enum value 'perhaps'."


def test_c10_cases_of_no_rule(files: Any) -> None:
    files.put("demo/lost/cases.yaml", [])
    found = files.lint("C10")
    assert found == [
        ("rules/demo/lost/cases.yaml", "stands beside no readable rule.", "Mend or add rule.yaml.")
    ]


def test_f10_a_ruleset_with_another_name_than_its_folder(files: Any) -> None:
    words = {"zh": "示例", "en": "Demo"}
    files.put("other/ruleset.yaml", {"id": "demo", "title": words, "description": words, "owner": "nobody"})
    assert files.lint("F10") == [("rules/other/ruleset.yaml: id", "is demo.", "Write other.")]


def test_k10_rows_that_no_rule_can_tell_apart(table: Any) -> None:
    found = table("A,1,warn,a", "B,1,warn,b", "A,1,block,c", "A,2,warn,d").lint("K10")
    mend = "Keep one, or give them dates that do not overlap."
    assert found == [("rules/knowledge/limits.csv: row 3", "says again what row 1 says of code = A.", mend)]


def test_k11_a_row_without_its_first_key(table: Any) -> None:
    found = table(",1,warn,a").lint("K11")
    mend = "Fill the cell, or join first on another column."
    assert found == [("rules/knowledge/limits.csv: row 1, code", "is empty, so no rule finds the row.", mend)]


def test_k12_a_level_that_is_none(table: Any) -> None:
    found = table("A,1,high,a", "B,1,,b", "C,1,note,c").lint("K12")
    mend = "Write block, reason, warn or note."
    place = "rules/knowledge/limits.csv: row"
    assert found == [
        (f"{place} 1, level", "is high, but demo.one takes its level from it.", mend),
        (f"{place} 2, level", "is empty, but demo.one takes its level from it.", mend),
    ]


def test_k13_an_agent_that_the_dictionary_lacks(files: Any) -> None:
    files.table("pairs", ["a", "b"], {"a": "text", "b": "text"}, "warfarin,nsaid", "warfarine,")
    on = {"a": "x.agents", "b": "y.agents"}
    files.rule(
        for_each={"x": "medication", "y": "medication"},
        match={"row": {"table": "pairs", "on": on}},
        when=leaf("x.period", "overlaps", {"name": "y.period"}),
    )
    assert files.lint("K13") == []
    types = {"ingredient": "text", "zh": "text", "en": "text", "classes": "text_set"}
    files.table("drug_ingredients", ["ingredient"], types, "warfarin,华法林,warfarin,")
    files.table("drug_classes", ["class"], {"class": "text", "zh": "text", "en": "text"}, "nsaid,,")
    place = "rules/knowledge/pairs.csv: row 2, a"
    what = "is warfarine, which the drug dictionary does not know."
    assert files.lint("K13") == [(place, what, "Write warfarin.")]


def test_k14_a_table_that_nothing_joins(files: Any) -> None:
    files.table("lonely", ["code"], {"code": "text"}, "A").table(
        "drug_names", ["code"], {"code": "text"}, "A"
    )
    mend = "Write the rule, or take the table out."
    assert files.lint("K14") == [("rules/knowledge/lonely.yaml", "is joined by no rule.", mend)]


def test_k15_a_key_with_a_blank(table: Any) -> None:
    found = table("A ,1,warn,a").lint("K15")
    place = "rules/knowledge/limits.csv: row 1, code"
    assert found == [(place, "is 'A ', with a blank at its end.", "Take the blank away.")]
