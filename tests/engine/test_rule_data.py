"""The vocabulary leaves in the shape that the business-rules package exports."""

from __future__ import annotations

import json

from business_rules import export_rule_data
from business_rules.actions import BaseActions, rule_action
from business_rules.fields import FIELD_TEXT
from business_rules.variables import BaseVariables, numeric_rule_variable, string_rule_variable

from engine.facts import COLLECTIONS, SINGLES
from engine.operators import OPERATORS
from engine.rule_data import rule_data
from engine.vocabulary import words_of


class HandWritten(BaseVariables):  # type: ignore[misc]
    """Variables as the package's readme writes them."""

    @numeric_rule_variable(label="Age")
    def age(self) -> int:
        return 40

    @string_rule_variable()
    def sex(self) -> str:
        return "male"


class HandWrittenActions(BaseActions):  # type: ignore[misc]
    """Actions as the package's readme writes them."""

    @rule_action(params={"level": FIELD_TEXT})
    def finding(self, level: str) -> None:
        """Do nothing."""


def test_it_has_the_keys_of_the_packages_own_export_and_one_more() -> None:
    theirs, ours = export_rule_data(HandWritten, HandWrittenActions), rule_data()
    assert set(ours) == set(theirs) | {"extensions"}
    assert {frozenset(one) for one in ours["variables"]} == {frozenset(theirs["variables"][0])}
    assert {frozenset(one) for one in ours["actions"]} == {frozenset(theirs["actions"][0])}
    params = {frozenset(param) for action in ours["actions"] for param in action["params"]}
    assert params == {frozenset(theirs["actions"][0]["params"][0])}
    for type_, operators in theirs["variable_type_operators"].items():
        assert [one["name"] for one in ours["variable_type_operators"][type_]] == [
            one["name"] for one in operators
        ]
        assert {frozenset(one) for one in ours["variable_type_operators"][type_]} == {frozenset(operators[0])}


def test_every_fact_is_a_variable_whose_type_has_operators() -> None:
    data = rule_data()
    named = {variable["name"]: variable for variable in data["variables"]}
    facts = {f"{kind}.{word}" for kind in (*SINGLES, *COLLECTIONS) for word in words_of(kind)}
    assert set(named) == facts
    assert all(data["variable_type_operators"][one["field_type"]] for one in data["variables"])
    assert named["patient.sex"]["label"] == "性别"
    assert named["patient.sex"]["options"][0] == {"name": "male", "label": "男"}
    assert named["charge.period"]["field_type"] == "interval"


def test_it_speaks_english_when_asked() -> None:
    data = rule_data("en")
    named = {variable["name"]: variable["label"] for variable in data["variables"]}
    assert named["patient.sex"] == "Sex"
    assert {one["label"] for one in data["actions"]} >= {"Give a finding", "Certainty"}
    assert {"after", "before"} <= {one["name"] for one in data["variable_type_operators"]["date"]}
    assert "is after" in {one["label"] for one in data["variable_type_operators"]["date"]}
    assert named != {variable["name"]: variable["label"] for variable in rule_data("zh")["variables"]}


def test_every_operator_of_ours_stands_in_the_extensions() -> None:
    extensions = rule_data()["extensions"]
    conditions = {one["name"] for operators in extensions["type_operators"].values() for one in operators}
    values = {one["name"] for one in extensions["value_operators"]}
    assert conditions | values == set(OPERATORS)
    within = next(one for one in extensions["type_operators"]["date"] if one["name"] == "within_days")
    assert within["more"] == ["days"]


def test_it_can_be_sent_as_json() -> None:
    assert json.loads(json.dumps(rule_data())) == rule_data()
