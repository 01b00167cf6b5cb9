"""Explain tells why a rule fires, is silent or is not checked, binding by binding and row by row."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from typing import Any

import pytest

from engine.cases import facts_of
from engine.explain import Explanation, LookUp, deciding, explain
from engine.rule import AllOf, AnyOf, Leaf, Name, Not

Explain = Callable[..., tuple[Explanation, ...]]
AT = dt.datetime(2026, 3, 1, 10)


def leaf(name: str, operator: str, value: Any = None) -> dict[str, Any]:
    return {"name": name, "operator": operator, **({} if value is None else {"value": value})}


@pytest.fixture
def told(files: Any) -> Explain:
    """Return a function that explains the rule ``demo.one``."""

    def tell(facts: dict[str, Any], rule: str = "demo.one") -> tuple[Explanation, ...]:
        snapshot, _ = files.compile()
        return explain(snapshot, facts_of(facts, snapshot.drugs), AT, rule)

    return tell


@pytest.fixture
def limited(files: Any) -> Any:
    """Return files with a rule that joins a table by the code of a charge."""
    files.table("limits", ["code"], {"code": "text", "high": "number"}, "A,5", "A,7", "B,1")
    match = {"row": {"table": "limits", "on": {"code": "line.code"}}}
    when = {
        "all": [
            leaf("visit.kind", "equal_to", "inpatient"),
            leaf("line.quantity", "greater_than", {"name": "row.high"}),
        ]
    }
    return files.rule(for_each={"line": "charge"}, match=match, when=when)


def test_each_row_that_answered_is_told_and_what_fires_comes_first(limited: Any, told: Explain) -> None:
    charge = {"id": "1", "code": "A", "quantity": 6}
    first, second = told({"visit": {"kind": "inpatient"}, "charges": [charge]})
    assert (first.outcome, second.outcome) == ("fires", "silent")
    assert first.row is not None
    assert first.level == "warn"
    assert [step.compared_to for step in (first.steps[1], second.steps[1])] == [5.0, 7.0]
    holds = "visit.kind (inpatient) is equal to inpatient: yes; line.quantity (6.0) is greater than 5.0: yes"
    assert first.why.en == f"It holds that: {holds}."
    assert second.deciding == ("when.all[1]",)
    assert second.why.en == "It does not fire, because: line.quantity (6.0) is greater than 7.0: no."
    assert second.why.zh == "条件不成立：line.quantity（6.0）大于 7.0：否"


def test_no_matching_row_tells_what_was_looked_up_and_where(limited: Any, told: Explain) -> None:
    [only] = told({"charges": [{"id": "1", "code": "Z"}]})
    assert only.outcome == "silent"
    assert only.looked_up == LookUp("limits", {"code": "Z"}, 0)
    assert only.why.en == "The table limits has no row in force for code = Z."
    assert [subject.id for subject in only.subjects] == ["1"]


def test_what_is_missing_is_named(limited: Any, told: Explain) -> None:
    [only] = told({"visit": {"kind": "inpatient"}, "charges": [{"id": "1", "quantity": 1}]})
    assert (only.outcome, only.missing) == ("not_checked", ("line.code",))
    assert only.why.en == "It cannot be judged without line.code."
    [only] = told({"visit": {"kind": "inpatient"}})
    assert (only.outcome, only.missing, only.why.zh) == ("not_checked", ("charge",), "没有提供 charge")
    [only] = told({"visit": {"kind": "outpatient"}})
    assert (only.outcome, only.why.en) == ("silent", "A condition that depends on no item does not hold.")


@pytest.mark.parametrize("charges", [[], [{"id": "1", "in_focus": False}]])
def test_nothing_to_range_over_is_told(limited: Any, told: Explain, charges: list[Any]) -> None:
    [only] = told({"charges": charges})
    assert (only.outcome, only.why.en) == (
        "silent",
        "This action touches no charge that the rule ranges over.",
    )


def test_a_rule_that_cannot_run_or_is_not_there_is_told(files: Any, told: Explain) -> None:
    files.rule(when=leaf("patient.sexx", "is_known"))
    [only] = told({})
    assert only.outcome == "not_checked"
    assert "sexx" in only.fault
    [only] = told({}, "demo.none")
    assert only.fault == "the release has no such rule"


def test_a_rule_out_of_its_days_is_told_and_a_draft_is_explained_as_if_active(
    files: Any, told: Explain
) -> None:
    files.rule(valid_from="2026-06-01")
    [only] = told({"patient": {"age_years": 90}})
    assert (only.outcome, only.why.en) == ("silent", "The rule is not in force on 2026-03-01 (2026-06-01).")
    files.rule(status="draft")
    [only] = told({"patient": {"age_years": 90}})
    assert only.outcome == "fires"


def test_a_check_that_breaks_is_told(files: Any, told: Explain) -> None:
    within = {
        **leaf("visit.start", "within_days", {"name": "visit.end"}),
        "days": {"name": "patient.age_years"},
    }
    files.rule(when=within)
    visit = {"start": "2026-03-01T08:00:00", "end": "2026-03-02T08:00:00"}
    [only] = told({"visit": visit, "patient": {"age_years": 1e300}})
    assert (only.outcome, only.fault) == ("not_checked", "the check broke (OverflowError)")


def test_no_more_than_two_hundred_are_told(files: Any, told: Explain) -> None:
    files.rule(for_each={"line": "charge"}, when=leaf("line.quantity", "greater_than", 1))
    charges = [{"id": str(i), "quantity": i % 2 * 2} for i in range(500)]
    explanations = told({"charges": charges})
    assert len(explanations) == 200
    assert {one.outcome for one in explanations} == {"fires"}


def node(path: str) -> Leaf:
    return Leaf(path, Name("patient.sex"), "is_known", None)


@pytest.mark.parametrize(
    ("tree", "outcomes", "said", "paths"),
    [
        (AllOf("", (node("a"), node("b"))), (True, True), True, ("a", "b")),
        (AllOf("", (node("a"), node("b"))), (None, False), False, ("b",)),
        (AllOf("", (node("a"), node("b"))), (None, True), None, ("a",)),
        (AnyOf("", (node("a"), node("b"))), (None, True), True, ("b",)),
        (AnyOf("", (node("a"), node("b"))), (False, False), False, ("a", "b")),
        (AnyOf("", (node("a"), node("b"))), (False, None), None, ("b",)),
        (Not("", AllOf("", (node("a"), node("b")))), (True, False), True, ("b",)),
        (Not("", node("a")), (None, None), None, ("a",)),
    ],
)
def test_the_conditions_that_decided_are_named(
    tree: Any, outcomes: tuple[bool | None, bool | None], said: bool | None, paths: tuple[str, ...]
) -> None:
    assert deciding(tree, dict(zip("ab", outcomes, strict=True))) == (said, paths)
