"""Cases are read with every fault, run in the engine, and say what came out instead."""

from __future__ import annotations

from typing import Any

import pytest

from engine.cases import facts_of, read_cases, run_cases
from engine.drugs import Dictionary


def run(files: Any, **case: Any) -> list[str | None]:
    raw = [{"name": "a case", "on": "2026-03-01", **case}]
    release = files.rule(
        for_each={"line": "charge"},
        when={"name": "line.amount", "operator": "greater_than", "value": 5},
        then={"level": "warn", "message": {"zh": "贵", "en": "Dear"}, "amount": "line.amount"},
        cases=raw,
    ).release()
    return [wrong for _, _, wrong in run_cases(release, files.snapshot())]


FACTS = {"charges": [{"id": "c1", "amount": "9.50"}]}


def test_a_case_that_holds_says_nothing(files: Any) -> None:
    finding = {"level": "warn", "subjects": ["c1"], "amount": "9.50"}
    assert run(files, expect="fires", facts=FACTS, finding=finding) == [None]
    assert run(files, expect="not_checked", facts={}, missing=["charge"]) == [None]
    assert run(files, expect="silent", facts={"charges": []}) == [None]


@pytest.mark.parametrize(
    ("case", "wrong"),
    [
        ({"expect": "silent", "facts": FACTS}, "expects silent, got fires (贵)"),
        ({"expect": "fires", "facts": {}}, "expects fires, got not_checked (charge)"),
        (
            {"expect": "fires", "facts": FACTS, "finding": {"level": "block"}},
            "fires, but not as expected: [('warn', ['c1'], '9.50')]",
        ),
        (
            {"expect": "not_checked", "facts": {}, "missing": ["patient.sex"]},
            "does not name patient.sex as missing (it names charge)",
        ),
    ],
)
def test_a_case_that_does_not_hold_says_what_came_out(files: Any, case: dict[str, Any], wrong: str) -> None:
    assert run(files, **case) == [wrong]


def test_facts_that_cannot_be_read_are_named(files: Any) -> None:
    [wrong] = run(files, expect="fires", facts={"charges": [{"id": "c1", "prise": 3}]})
    assert wrong is not None
    assert wrong.startswith("has facts that cannot be read: Object contains unknown field `prise`")


def test_a_shadow_or_draft_rule_runs_its_cases_as_if_it_were_active(files: Any) -> None:
    case = {"name": "old", "expect": "fires", "on": "2026-03-01", "facts": {"patient": {"age_years": 90}}}
    files.rule("one", cases=[case], status="draft").rule("two", cases=[case], status="shadow")
    files.rule("three", cases=[case], status="retired", note="Gone.")
    ran = [(rule, wrong) for rule, _, wrong in run_cases(files.release(), files.snapshot())]
    assert ran == [("demo.one", None), ("demo.two", None)]


def test_every_unreadable_case_is_reported_by_its_place() -> None:
    good = {"name": "a", "expect": "fires", "on": "2026-03-01", "facts": {}}
    cases, errors = read_cases([good, {**good, "expect": "maybe"}, 3, {**good, "day": 1}], "cases.yaml")
    assert len(cases) == 1
    assert [error.where for error in errors] == [
        "cases.yaml: [1].expect",
        "cases.yaml: [2]",
        "cases.yaml: [3]",
    ]
    assert read_cases({"name": "a"}, "cases.yaml")[1][0].what == "is no list of cases."


def test_a_drug_of_a_case_is_resolved_or_left_unknown(files: Any) -> None:
    types = {"ingredient": "text", "zh": "text", "en": "text", "classes": "text_set"}
    files.table("drug_ingredients", ["ingredient"], types, "warfarin,华法林,warfarin,anticoagulant")
    drugs = Dictionary(files.release().tables)
    raw = {
        "medications": [{"id": "1", "drug": "华法林"}, {"id": "2", "drug": "unheard-of"}],
        "components": [{"id": "3", "medication": "1", "drug": "warfarin"}],
        "allergies": [{"id": "4", "drug": "warfarin"}],
    }
    facts = facts_of(raw, drugs)
    agents = frozenset({"warfarin", "anticoagulant"})
    assert facts.medications is not None
    known, unknown = facts.medications
    assert (known.name, known.ingredients, known.agents) == ("华法林", frozenset({"warfarin"}), agents)
    assert (unknown.name, unknown.agents) == ("unheard-of", None)
    assert facts.components is not None
    assert facts.components[0].ingredient == "warfarin"
    assert facts.allergies is not None
    assert facts.allergies[0].agents == agents
