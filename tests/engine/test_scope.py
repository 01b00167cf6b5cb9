"""Names and types are checked when a rule is compiled: where, what, and what was perhaps meant."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

Faults = Callable[..., list[tuple[str, str, str]]]


def leaf(name: str, operator: str, value: Any = None, **more: Any) -> dict[str, Any]:
    return {"name": name, "operator": operator, **({} if value is None else {"value": value}), **more}


@pytest.mark.parametrize(
    ("when", "path", "what", "mend"),
    [
        (
            leaf("patient.sexx", "is_known"),
            "when",
            "names patient.sexx, but a patient has no sexx.",
            "Use sex.",
        ),
        (
            leaf("pateint.sex", "is_known"),
            "when",
            "names pateint.sex, but pateint is not known here.",
            "Use patient.",
        ),
        (
            leaf("patient.sex", "equal_to", {"name": "patient.age_years"}),
            "when.value",
            "is patient.age_years, a number.",
            "Use a text.",
        ),
        (leaf("patient.age_years", "greater_than", "old"), "when.value", "is 'old'.", "Write a number."),
        (leaf("patient.age_years", "between", [5, 1]), "when.value", "is [5, 1].", "Write a number_pair."),
        (
            leaf("patient.birth_date", "before", "soon"),
            "when.value",
            "is 'soon'.",
            "Write a date or moment.",
        ),
        (leaf("patient.sex", "equal_to"), "when", "needs value for equal_to.", "Give value and no more."),
        (
            leaf("patient.sex", "equal_to", "male", note="x"),
            "when",
            "needs value for equal_to.",
            "Give value and no more.",
        ),
        (
            leaf("visit.start", "within_days", {"name": "visit.end"}, dayz=3),
            "when",
            "needs value, days for within_days.",
            "Give value, days and no more.",
        ),
        (leaf("patient.sex", "is_known", days=3), "when", "gives days to is_known.", "Leave it out."),
        (
            leaf("patient.age_years", "greater_than", {"parameter": "oldd"}),
            "when.value",
            "names the parameter oldd, which there is not.",
            "Use old.",
        ),
        (
            leaf("patient.sex", "equal_to", {"parameter": "old"}),
            "when.value",
            "is the parameter old, a number.",
            "Use a text.",
        ),
    ],
)
def test_a_comparison_that_makes_no_sense(
    files: Any, faults_of: Faults, when: Any, path: str, what: str, mend: str
) -> None:
    files.parameter("old", "number", ("2020-01-01", 80))
    assert faults_of(when=when) == [(path, what, mend)]


def test_an_operator_that_there_is_not_or_that_the_type_does_not_take(faults_of: Faults) -> None:
    [(_, what, mend)] = faults_of(when=leaf("patient.sex", "is", "male"))
    assert what == "uses the operator is, which there is not."
    assert "equal_to" in mend
    [(_, what, mend)] = faults_of(when=leaf("patient.sex", "greater_than", 1))
    assert what == "applies greater_than to patient.sex, a text."
    assert mend.startswith("It takes money or number; a text takes contains, ")
    [(_, what, _)] = faults_of(when=leaf("patient.sex", "add", 1))
    assert what == "uses the operator add, which there is not."


def test_two_faults_of_one_tree_come_together(faults_of: Faults) -> None:
    found = faults_of(when={"any": [leaf("a.b", "is_known"), {"not": leaf("patient.c", "is_known")}]})
    assert [where for where, _, _ in found] == ["when.any[0]", "when.any[1].not"]


@pytest.mark.parametrize(
    ("changes", "path", "what"),
    [
        ({"for_each": {"a": "drug"}}, "for_each.a", "is drug."),
        ({"for_each": {"past": "past_charge"}}, "for_each.past", "is past_charge."),
        ({"for_each": dict.fromkeys("abc", "charge")}, "for_each", "binds more than two things."),
        (
            {"for_each": {"charge": "medication"}},
            "for_each",
            "calls a medication charge, which means something else.",
        ),
        (
            {"match": {"row": {"table": "t", "on": {"a": "b"}}}},
            "match",
            "joins the table t, which is not loaded.",
        ),
        ({"let": {"n": {"count": "bill"}}}, "let.n", "ranges over bill."),
        ({"let": {"n": {"sum": "charge"}}}, "let.n", "does not fit sum."),
        ({"let": {"n": {"count": "charge", "field": "other.amount"}}}, "let.n", "does not fit count."),
        (
            {"let": {"n": {"sum": "charge", "field": "other.name"}}},
            "let.n.field",
            "is other.name, a text.",
        ),
        (
            {"let": {"n": {"count": "charge", "as": "visit"}}},
            "let.n",
            "calls a charge visit, which means something else.",
        ),
        (
            {"let": {"n": {"operator": "is_known", "of": []}}},
            "let.n",
            "uses the operator is_known, which gives no value.",
        ),
        ({"let": {"n": {"operator": "add", "of": [1]}}}, "let.n.of", "has 1 values."),
        (
            {
                "let": {
                    "n": {
                        "operator": "subtract",
                        "of": [{"name": "patient.age_years"}, {"name": "visit.total_amount"}],
                    }
                }
            },
            "let.n",
            "gives subtract number and money.",
        ),
        ({"then": {"level": "note", "message": {"zh": "{patient.name}", "en": ""}}}, "then.message.zh", None),
        ({"then": {"level": "note", "message": {"zh": "{", "en": ""}}}, "then.message.zh", None),
        (
            {"then": {"level": "note", "message": {"zh": "", "en": "{patient.sex:>3}"}}},
            "then.message.en",
            "formats patient.sex.",
        ),
        (
            {"then": {"level": "note", "message": {"zh": "", "en": ""}, "amount": "patient.sex"}},
            "then.amount",
            None,
        ),
        (
            {
                "then": {
                    "level": "note",
                    "message": {"zh": "", "en": ""},
                    "suggestions": [{"label": {"zh": "", "en": ""}, "remove": "x"}],
                }
            },
            "then.suggestions",
            "removes x.",
        ),
    ],
)
def test_a_part_that_does_not_fit(
    faults_of: Faults, changes: dict[str, Any], path: str, what: str | None
) -> None:
    [(where, said, mend)] = faults_of(**changes)
    assert where == path
    assert what is None or said == what
    assert mend


@pytest.mark.parametrize(
    ("on", "path", "what"),
    [
        ({"kode": "line.code"}, "match.row.on.kode", "is no column of limits."),
        ({"code": "line.quantity"}, "match.row.on.code", "is line.quantity, a number."),
        ({"high": "line.code"}, "match.row.on.high", "joins a number."),
        ({"code": "row.name"}, "match.row.on.code", "is row.name, of the row itself."),
    ],
)
def test_a_join_that_does_not_fit(
    files: Any, faults_of: Faults, on: dict[str, str], path: str, what: str
) -> None:
    files.table("limits", ["code"], {"code": "text", "high": "number", "name": "text"}, "A,1,a")
    match = {"row": {"table": "limits", "on": on}}
    [(where, said, _)] = faults_of(for_each={"line": "charge"}, match=match)
    assert (where, said) == (path, what)


def test_a_row_cannot_be_called_as_a_binding(files: Any, faults_of: Faults) -> None:
    files.table("limits", ["code"], {"code": "text"}, "A")
    match = {"line": {"table": "limits", "on": {"code": "line.code"}}}
    [(where, what, _)] = faults_of(for_each={"line": "charge"}, match=match)
    assert (where, what) == ("match", "calls a row line, which means something else.")
