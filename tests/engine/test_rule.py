"""A rule is read whole: every fault has its path and its repair."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from typing import Any

import pytest

from engine.rule import AllOf, Leaf, Not, ParameterName, read_rule

Faults = Callable[..., list[tuple[str, str, str]]]
LEAF = {"name": "patient.age_years", "operator": "greater_than", "value": 1}


def nested(depth: int) -> Any:
    node: Any = LEAF
    for _ in range(depth):
        node = {"not": node}
    return node


@pytest.mark.parametrize(
    ("when", "path", "what"),
    [
        ({"all": []}, "when.all", "is empty or not a list."),
        ({"any": LEAF}, "when.any", "is empty or not a list."),
        ({"all": [LEAF], "any": [LEAF]}, "when", "is no condition."),
        ({"all": [LEAF, {"none": []}]}, "when.all[1]", "is no condition."),
        ({"not": {"any": [3]}}, "when.not.any[0]", "is no condition."),
        (
            {**LEAF, "value": {"fact": "x"}},
            "when.value",
            "is neither a value nor {name: …} nor {parameter: …}.",
        ),
        ({**LEAF, "operator": 3}, "when", "has a name or an operator that is no text."),
        (nested(30), "when" + ".not" * 21, "is nested more than 20 deep."),
    ],
)
def test_a_condition_that_cannot_be_read(faults_of: Faults, when: Any, path: str, what: str) -> None:
    found = faults_of(when=when)
    assert (path, what) in [one[:2] for one in found]
    assert all(mend for _, _, mend in found)


@pytest.mark.parametrize(
    ("changes", "path"),
    [
        ({"status": "ready"}, "status"),
        ({"valid_from": "yesterday"}, "valid_from"),
        ({"title": {"zh": "x"}}, "title"),
        ({"when": None}, "page"),
        ({"colour": "red"}, "page"),
        ({"stages": ["sometimes"]}, "stages[0]"),
        ({"then": {"level": "loud", "message": {"zh": "a", "en": "b"}}}, "then.level"),
        ({"references": [{"name": "x"}]}, "references[0]"),
    ],
)
def test_a_page_of_the_wrong_shape(faults_of: Faults, changes: dict[str, Any], path: str) -> None:
    assert [where for where, _, _ in faults_of(**changes)] == [path]


def test_a_rule_without_a_stage_would_never_run(faults_of: Faults) -> None:
    what = "are empty, so the rule would never run."
    assert faults_of(stages=[]) == [("stages", what, "Name at least one stage.")]


def test_all_faults_of_a_rule_come_at_once(faults_of: Faults) -> None:
    found = faults_of(
        when={"all": [{"any": []}, {"name": 1, "operator": "x"}]},
        match={"row": {"table": "t"}},
        let={"a": {"count": "charge", "colour": "red"}, "b": {"operator": "add"}, "c": {}},
    )
    assert {where for where, _, _ in found} == {
        "when.all[0].any",
        "when.all[1]",
        "match",
        "let.a",
        "let.b",
        "let.c",
    }


def test_a_rule_is_a_tree() -> None:
    raw = {
        "id": "demo.one",
        "title": {"zh": "规则", "en": "Rule"},
        "status": "active",
        "version": 1,
        "valid_from": "2025-01-01",
        "valid_to": "2026-01-01",
        "stages": ["order_sign"],
        "when": {
            "all": [
                {"not": LEAF},
                {
                    "name": "visit.start",
                    "operator": "within_days",
                    "value": {"name": "visit.end"},
                    "days": {"parameter": "stay"},
                },
            ]
        },
        "then": {"level": "warn", "message": {"zh": "有", "en": "Yes"}},
    }
    rule, errors = read_rule(raw, "a place")
    assert errors == []
    assert rule is not None
    assert isinstance(rule.when, AllOf)
    denied, within = rule.when.nodes
    assert isinstance(denied, Not)
    assert denied.node.path == "when.all[0].not"
    assert isinstance(within, Leaf)
    assert within.more == (("days", ParameterName("stay")),)
    assert rule.in_force(dt.date(2025, 12, 31))
    assert not rule.in_force(dt.date(2026, 1, 1))
    assert not rule.in_force(dt.date(2024, 12, 31))
