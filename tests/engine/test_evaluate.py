"""What a decision says: which checks meet which items, what fires, what is open, and why."""

from __future__ import annotations

import datetime as dt
import itertools
from decimal import Decimal
from typing import Any

import pytest

from engine.decision import Decision, Stage, Status, Step
from engine.evaluate import evaluate
from engine.facts import Facts, Patient

OUTCOMES: dict[str, bool | None] = {"yes": True, "no": False, "maybe": None}


def leaf(name: str, operator: str, value: Any = None, **more: Any) -> dict[str, Any]:
    return {"name": name, "operator": operator, **({} if value is None else {"value": value}), **more}


def med(id_: str, *agents: str, **more: Any) -> dict[str, Any]:
    return {"id": id_, "agents": list(agents), "start": "2026-03-01T08:00:00", **more}


def said(decision: Decision) -> bool | None:
    return True if decision.findings else None if decision.not_checked else False


def fired(decision: Decision) -> list[tuple[str, list[str], str]]:
    return [(one.rule, [subject.id for subject in one.subjects], str(one.level)) for one in decision.findings]


def open_ones(decision: Decision) -> list[tuple[str, list[str], tuple[str, ...]]]:
    return [(gap.rule, [subject.id for subject in gap.subjects], gap.missing) for gap in decision.not_checked]


# -- three-valued logic -----------------------------------------------------------------------------------


@pytest.mark.parametrize(("first", "second"), list(itertools.product(OUTCOMES, repeat=2)))
def test_all_any_and_not_follow_kleene(files: Any, first: str, second: str) -> None:
    truth = {"yes": "female", "no": "male", "maybe": None}
    facts = {"patient": {"sex": truth[first]}, "visit": {"department": truth[second]}}
    leaves = [leaf("patient.sex", "equal_to", "female"), leaf("visit.department", "equal_to", "female")]
    a, b = OUTCOMES[first], OUTCOMES[second]
    conjunction = False if False in (a, b) else None if None in (a, b) else True
    disjunction = True if True in (a, b) else None if None in (a, b) else False
    assert said(files.rule(when={"all": leaves}).decide(facts)) is conjunction
    assert said(files.rule(when={"any": leaves}).decide(facts)) is disjunction
    denied = files.rule(when={"not": {"any": leaves}}).decide(facts)
    assert said(denied) is (None if disjunction is None else not disjunction)
    three = files.rule(when={"all": [*leaves, leaf("patient.sex", "is_known")]}).decide(facts)
    assert said(three) is (False if first == "maybe" else conjunction)


def test_not_checked_names_what_is_missing_and_nothing_else(files: Any) -> None:
    files.rule(
        when={"all": [leaf("patient.sex", "equal_to", "female"), leaf("patient.age_years", "less_than", 1)]}
    )
    decision = files.decide({"patient": {"sex": "female"}})
    assert open_ones(decision) == [("demo.one", [], ("patient.age_years",))]
    assert decision.status is Status.NOT_CHECKED
    assert decision.ran == frozenset()


# -- which checks meet which items ------------------------------------------------------------------------


def test_an_indexed_check_meets_its_items_in_focus_only(files: Any) -> None:
    files.rule(for_each={"line": "charge"}, when=leaf("line.code", "is_one_of", ["A", "B"]))
    charges = [
        {"id": "1", "code": "A"},
        {"id": "2", "code": "C"},
        {"id": "3", "code": "B", "in_focus": False},
    ]
    assert fired(files.decide({"charges": charges})) == [("demo.one", ["1"], "warn")]
    assert open_ones(files.decide({"charges": [{"id": "1"}]})) == [("demo.one", ["1"], ("line.code",))]
    assert open_ones(files.decide({})) == [("demo.one", [], ("charge",))]
    assert files.decide({"charges": []}).status is Status.PASSED


def test_a_check_without_a_key_meets_every_item(files: Any) -> None:
    files.rule(for_each={"line": "charge"}, when=leaf("line.quantity", "greater_than", 1))
    decision = files.decide(
        {"charges": [{"id": "1", "quantity": 2}, {"id": "2", "quantity": 1}, {"id": "3"}]}
    )
    assert fired(decision) == [("demo.one", ["1"], "warn")]
    assert open_ones(decision) == [("demo.one", ["3"], ("line.quantity",))]
    assert decision.status is Status.FINDINGS


def test_a_check_about_no_item_is_judged_once(files: Any) -> None:
    files.table("wards", ["region"], {"region": "text", "old": "number"}, "310000,80", "110000,60")
    match = {"row": {"table": "wards", "on": {"region": "visit.region"}}}
    files.rule(match=match, when=leaf("patient.age_years", "greater_than", {"name": "row.old"}))
    facts = {"patient": {"age_years": 70}, "visit": {"region": "110000"}}
    [finding] = files.decide(facts).findings
    assert finding.subjects == ()
    assert finding.rows[0].key == {"region": "110000"}
    assert files.decide(facts | {"visit": {"region": "310000"}}).status is Status.PASSED
    assert open_ones(files.decide(facts | {"visit": {}})) == [("demo.one", [], ("visit.region",))]


def test_two_of_one_collection_are_pairs_of_different_items_one_of_them_in_focus(files: Any) -> None:
    files.rule(
        for_each={"a": "medication", "b": "medication"},
        when=leaf("a.period", "overlaps", {"name": "b.period"}),
    )
    drugs = [med("1"), med("2", in_focus=False), med("3", in_focus=False)]
    assert fired(files.decide({"medications": drugs})) == [
        ("demo.one", ["1", "2"], "warn"),
        ("demo.one", ["1", "3"], "warn"),
    ]
    assert files.decide({"medications": [med("1")]}).status is Status.PASSED


def pairs(files: Any, *rows: str, on: dict[str, str] | None = None, **changes: Any) -> Any:
    files.table("pairs", ["a", "b"], {"a": "text", "b": "text", "level": "text"}, *rows)
    match = {"row": {"table": "pairs", "on": on or {"a": "x.agents", "b": "y.agents"}}}
    then = {"level": {"name": "row.level"}, "message": {"zh": "{x.name}", "en": "{y.name}"}}
    return files.rule(
        **{
            "for_each": {"x": "medication", "y": "medication"},
            "match": match,
            "when": leaf("x.period", "overlaps", {"name": "y.period"}),
            "then": then,
            **changes,
        }
    )


def test_a_pair_table_needs_each_pair_once_and_the_worst_level_is_kept(files: Any) -> None:
    pairs(files, "warfarin,nsaid,warn", "ibuprofen,anticoagulant,block", "warfarin,ibuprofen,reason")
    drugs = [med("1", "ibuprofen", "nsaid"), med("2", "warfarin", "anticoagulant")]
    [finding] = files.decide({"medications": drugs}).findings
    assert finding.level == "block"
    assert finding.rows[0].key == {"a": "ibuprofen", "b": "anticoagulant"}
    assert files.decide({"medications": drugs[:1]}).status is Status.PASSED


def test_of_equally_bad_rows_always_the_same_one_is_told(files: Any) -> None:
    pairs(files, *(f"a{i},b{i},warn" for i in range(9, 0, -1)))
    drugs = [med("1", *(f"a{i}" for i in range(1, 10))), med("2", *(f"b{i}" for i in range(1, 10)))]
    [finding] = files.decide({"medications": drugs}).findings
    assert finding.rows[0].key == {"a": "a1", "b": "b1"}


def test_keys_in_the_order_of_the_second_item_keep_the_first_one_offending(files: Any) -> None:
    pairs(files, "included,main,warn", on={"a": "y.agents", "b": "x.agents"})
    [finding] = files.decide({"medications": [med("1", "included"), med("2", "main")]}).findings
    assert [(subject.binding, subject.id) for subject in finding.subjects] == [("x", "2"), ("y", "1")]


def test_a_pair_keyed_on_its_second_item_alone(files: Any) -> None:
    files.table("kinds", ["agent"], {"agent": "text", "high": "number"}, "nsaid,1")
    match = {"row": {"table": "kinds", "on": {"agent": "y.agents"}}}
    files.rule(for_each={"x": "diagnosis", "y": "medication"}, match=match, when=leaf("x.active", "is_true"))
    facts = {"diagnoses": [{"id": "d", "active": True}], "medications": [med("1", "ssri"), med("2", "nsaid")]}
    assert fired(files.decide(facts)) == [("demo.one", ["d", "2"], "warn")]
    facts["medications"] = [{"id": "3"}]
    assert open_ones(files.decide(facts)) == [("demo.one", ["d", "3"], ("y.agents",))]


def test_a_pair_joined_first_on_the_patient(files: Any) -> None:
    files.table("sexes", ["sex"], {"sex": "text"}, "female")
    match = {"row": {"table": "sexes", "on": {"sex": "patient.sex"}}}
    files.rule(
        for_each={"x": "medication", "y": "medication"},
        match=match,
        when=leaf("x.period", "overlaps", {"name": "y.period"}),
    )
    drugs = [med("1"), med("2")]
    assert files.decide({"patient": {"sex": "male"}, "medications": drugs}).status is Status.PASSED
    assert len(files.decide({"patient": {"sex": "female"}, "medications": drugs}).findings) == 1
    assert open_ones(files.decide({"medications": drugs})) == [("demo.one", ["2", "1"], ("patient.sex",))]


def test_an_empty_cell_beyond_the_first_key_matches_anything(files: Any) -> None:
    pairs(files, "warfarin,,warn")
    drugs = [med("1", "warfarin"), med("2", "anything")]
    assert fired(files.decide({"medications": drugs})) == [("demo.one", ["1", "2"], "warn")]


def test_a_set_cell_matches_any_of_its_elements(files: Any) -> None:
    files.table("routes", ["agents", "route"], {"agents": "text_set", "route": "text"}, "a|b,oral")
    on = {"agents": "c.ingredient", "route": "c.route"}
    files.rule(
        for_each={"c": "component"},
        match={"row": {"table": "routes", "on": on}},
        when=leaf("c.daily_mg", "greater_than", 1),
    )

    def facts(**more: Any) -> dict[str, Any]:
        return {"components": [{"id": "1", "medication": "m", "daily_mg": 2, **more}]}

    assert len(files.decide(facts(ingredient="b", route="oral")).findings) == 1
    assert files.decide(facts(ingredient="b", route="iv")).status is Status.PASSED
    assert files.decide(facts(ingredient="c", route="oral")).status is Status.PASSED
    assert open_ones(files.decide(facts(ingredient="b"))) == [("demo.one", ["1"], ("c.route",))]


def test_items_of_two_collections_with_the_same_ids_stay_apart(files: Any) -> None:
    files.rule(for_each={"m": "medication", "c": "charge"}, when=leaf("c.quantity", "greater_than", 1))
    charges = [{"id": "1", "quantity": 2}, {"id": "2", "quantity": 2}]
    decision = files.decide({"medications": [med("1"), med("2")], "charges": charges})
    assert [ids for _, ids, _ in fired(decision)] == [["1", "1"], ["1", "2"], ["2", "1"], ["2", "2"]]


# -- the unknown ------------------------------------------------------------------------------------------


def test_a_drug_that_was_not_understood_is_not_checked_against_its_pairs(files: Any) -> None:
    pairs(files, "warfarin,nsaid,warn")
    unresolved = {"id": "9", "start": "2026-03-01T08:00:00"}
    decision = files.decide({"medications": [med("1", "warfarin"), unresolved]})
    [gap] = decision.not_checked
    assert {subject.id for subject in gap.subjects} == {"1", "9"}
    assert set(gap.missing) == {"x.agents", "y.agents"}
    ended = {"id": "9", "start": "2026-02-01T08:00:00", "end": "2026-02-02T08:00:00"}
    assert files.decide({"medications": [med("1", "warfarin"), ended]}).status is Status.PASSED


def test_without_a_row_nothing_is_known_about_its_cells_not_even_that_they_are_empty(files: Any) -> None:
    files.table("limits", ["agent"], {"agent": "text", "high": "number"}, "a,5")
    match = {"row": {"table": "limits", "on": {"agent": "c.ingredient"}}}
    when = {"all": [leaf("row.high", "is_known"), leaf("c.daily_mg", "greater_than", {"name": "row.high"})]}
    files.rule(for_each={"c": "component"}, match=match, when=when)
    component = {"id": "1", "medication": "m", "daily_mg": 9}
    assert open_ones(files.decide({"components": [component]})) == [("demo.one", ["1"], ("c.ingredient",))]
    assert len(files.decide({"components": [component | {"ingredient": "a"}]}).findings) == 1


def test_an_empty_cell_that_is_compared_is_unknown(files: Any) -> None:
    files.table("limits", ["agent"], {"agent": "text", "high": "number"}, "a,")
    match = {"row": {"table": "limits", "on": {"agent": "c.ingredient"}}}
    files.rule(
        for_each={"c": "component"},
        match=match,
        when=leaf("c.daily_mg", "greater_than", {"name": "row.high"}),
    )
    component = {"id": "1", "medication": "m", "daily_mg": 9, "ingredient": "a"}
    assert open_ones(files.decide({"components": [component]})) == [("demo.one", ["1"], ("row.high",))]


def test_a_false_condition_about_the_visit_silences_whatever_else_is_unknown(files: Any) -> None:
    when = {"all": [leaf("visit.kind", "equal_to", "inpatient"), leaf("line.quantity", "greater_than", 1)]}
    files.rule(for_each={"line": "charge"}, when=when)
    assert files.decide({"visit": {"kind": "outpatient"}}).status is Status.PASSED
    assert open_ones(files.decide({"visit": {"kind": "inpatient"}})) == [("demo.one", [], ("charge",))]


# -- derived values ---------------------------------------------------------------------------------------

LINES = [
    {"id": "1", "code": "A", "day": "2026-03-01", "quantity": 1, "amount": "1.10"},
    {"id": "2", "code": "A", "day": "2026-03-04", "quantity": 3, "amount": "2.20"},
    {"id": "3", "code": "B", "day": "2026-03-04", "quantity": 5, "amount": "4.40"},
]


@pytest.mark.parametrize(
    ("how", "field", "more", "expected"),
    [
        ("count", None, {}, 2),
        ("sum", "quantity", {}, 4),
        ("min", "quantity", {}, 1),
        ("max", "quantity", {}, 3),
        ("distinct", "day", {}, 2),
        ("latest", "quantity", {"by": "other.day"}, 3),
        ("earliest", "quantity", {"by": "other.day"}, 1),
        ("longest_gap", "day", {}, 3),
        ("shortest_gap", "day", {}, 3),
    ],
)
def test_a_derived_value_ranges_over_the_rows_that_fit(
    files: Any, how: str, field: str | None, more: dict[str, str], expected: float
) -> None:
    let = {how: "charge", "where": leaf("other.code", "equal_to", "A"), **more}
    if field:
        let["field"] = f"other.{field}"
    files.rule(let={"value": let}, when=leaf("value", "equal_to", expected))
    assert said(files.decide({"charges": LINES})) is True
    assert open_ones(files.decide({})) == [("demo.one", [], ("charge",))]
    unknown = [{**LINES[0], "code": None}, *LINES[1:]]
    assert open_ones(files.decide({"charges": unknown})) == [("demo.one", [], ("other.code",))]


def test_a_derived_value_inside_another_leaves_the_outer_rows_alone(files: Any) -> None:
    same = {"all": [leaf("many", "greater_than", 0), leaf("other.code", "equal_to", "B")]}
    files.rule(
        let={"many": {"count": "charge"}, "bs": {"count": "charge", "where": same}},
        when=leaf("bs", "equal_to", 1),
    )
    assert said(files.decide({"charges": LINES})) is True
    backwards = {"all": [leaf("many", "greater_than", 0), leaf("other.code", "equal_to", "A")]}
    files.rule(
        let={"many": {"count": "charge"}, "as": {"count": "charge", "where": backwards}},
        when=leaf("as", "equal_to", 2),
    )
    assert said(files.decide({"charges": LINES})) is True


def test_money_is_exact(files: Any) -> None:
    files.rule(
        let={"total": {"sum": "charge", "field": "other.amount"}},
        when=leaf("total", "equal_to", "7.70"),
        then={"level": "note", "message": {"zh": "{total}", "en": "{total}"}, "amount": "total"},
    )
    [finding] = files.decide({"charges": LINES}).findings
    assert finding.amount == Decimal("7.70")


# -- days -------------------------------------------------------------------------------------------------


def test_rules_rows_and_parameters_hold_on_their_days(files: Any) -> None:
    files.parameter("old", "number", ("2025-01-01", 80), ("2026-01-01", 60))
    when = leaf("patient.age_years", "greater_than", {"parameter": "old"})
    files.rule(when=when, valid_to="2026-06-01")
    facts = {"patient": {"age_years": 70}}
    assert files.decide(facts, "2025-12-31").status is Status.PASSED
    [finding] = files.decide(facts, "2026-01-01").findings
    assert finding.trace[0].by == "parameter old since 2026-01-01"
    over = files.decide(facts, "2026-06-01")
    assert (over.required, over.status) == (frozenset(), Status.NOT_CHECKED)

    files.table(
        "limits",
        ["code"],
        {"code": "text", "valid_from": "date", "valid_to": "date"},
        "A,2026-02-01,2026-03-01",
        "B,,",
    )
    match = {"row": {"table": "limits", "on": {"code": "line.code"}}}
    files.rule(for_each={"line": "charge"}, match=match, when=leaf("line.quantity", "greater_than", 0))
    charges: dict[str, Any] = {"charges": [{"id": "1", "code": "A", "quantity": 1}]}
    days = ["2026-01-31", "2026-02-01", "2026-02-28", "2026-03-01"]
    assert [len(files.decide(charges, day).findings) for day in days] == [0, 1, 1, 0]


def test_a_parameter_without_a_value_yet_is_unknown(files: Any) -> None:
    files.parameter("old", "number", ("2026-06-01", 80))
    files.rule(when=leaf("patient.age_years", "greater_than", {"parameter": "old"}))
    decision = files.decide({"patient": {"age_years": 70}})
    assert open_ones(decision) == [("demo.one", [], ("parameter old",))]


# -- which rules ------------------------------------------------------------------------------------------


def test_a_shadow_rule_is_logged_and_never_shown(files: Any) -> None:
    files.rule(status="shadow").rule("two", when=leaf("patient.sex", "equal_to", "male"))
    decision = files.decide({"patient": {"age_years": 90, "sex": "female"}})
    assert decision.status is Status.PASSED
    assert [finding.rule for finding in decision.shadow] == ["demo.one"]
    assert decision.required == {"demo.two"}
    assert files.decide({"patient": {"sex": "female"}}).status is Status.PASSED


@pytest.mark.parametrize("status", ["draft", "retired"])
def test_a_rule_that_is_not_in_use_does_not_run(files: Any, status: str) -> None:
    decision = files.rule(status=status).decide({"patient": {"age_years": 90}})
    assert decision.findings == decision.shadow == ()
    assert decision.status is Status.NOT_CHECKED, "nothing required is no pass"


def test_only_restricts_the_checks_and_an_unknown_one_is_not_checked(files: Any) -> None:
    files.rule().rule("two")
    facts = {"patient": {"age_years": 90}}
    assert [one.rule for one in files.decide(facts, only=frozenset({"demo.two"})).findings] == ["demo.two"]
    decision = files.decide({"patient": {"age_years": 9}}, only=frozenset({"demo.two", "demo.none"}))
    assert decision.required == {"demo.two", "demo.none"}
    assert decision.ran == {"demo.two"}
    assert [(gap.rule, gap.fault) for gap in decision.not_checked] == [
        ("demo.none", "the release has no such rule")
    ]
    assert decision.status is Status.NOT_CHECKED


def test_a_rule_of_another_stage_is_not_required(files: Any) -> None:
    files.rule(stages=["drill"])
    assert files.decide({"patient": {"age_years": 90}}).required == frozenset()


def test_a_check_that_breaks_is_not_checked_and_says_so(files: Any) -> None:
    files.rule(
        when=leaf("visit.start", "within_days", {"name": "visit.end"}, days={"name": "patient.age_years"})
    )
    files.rule("two", when=leaf("patient.age_years", "greater_than", 1))
    visit = {"start": "2026-03-01T08:00:00", "end": "2026-03-02T08:00:00"}
    decision = files.decide({"visit": visit, "patient": {"age_years": 1e300}})
    assert [one.rule for one in decision.findings] == ["demo.two"]
    [gap] = decision.not_checked
    assert (gap.rule, gap.fault) == ("demo.one", "the check broke (OverflowError)")
    assert decision.ran == {"demo.two"}


def test_a_level_that_is_none_breaks_the_check(files: Any) -> None:
    pairs(files, "a,b,loud")
    decision = files.decide({"medications": [med("1", "a"), med("2", "b")]})
    assert decision.findings == ()
    assert decision.not_checked[0].fault == "the check broke (KeyError)"


def test_a_rule_that_does_not_compile_is_a_fault_of_the_release_and_never_a_pass(files: Any) -> None:
    files.rule(when=leaf("patient.sexx", "is_known"))
    snapshot, errors = files.compile()
    assert len(errors) == 1
    decision = evaluate(
        snapshot, Facts(patient=Patient(sex="male")), dt.datetime(2026, 3, 1), Stage.ORDER_SIGN
    )
    assert decision.status is Status.NOT_CHECKED
    assert "sexx" in decision.not_checked[0].fault


# -- the trace --------------------------------------------------------------------------------------------


def test_a_finding_tells_facts_values_row_and_parameter(files: Any) -> None:
    files.parameter("share", "number", ("2025-01-01", 2))
    files.table("limits", ["agent"], {"agent": "text", "high": "number"}, "nsaid,5")
    when = {
        "all": [
            leaf("m.agents", "includes", "nsaid"),
            leaf("m.quantity", "greater_than", {"name": "row.high"}),
            {"not": leaf("m.quantity", "less_than", {"parameter": "share"})},
        ]
    }
    match = {"row": {"table": "limits", "on": {"agent": "m.agents"}}}
    message = {"zh": "{m.name}超过{row.high}", "en": "{m.name} is over {row.high}"}
    advice = {"zh": "停用{m.name}", "en": "Stop {m.name}"}
    then = {
        "level": "block",
        "message": message,
        "advice": advice,
        "suggestions": [{"label": advice, "remove": "m"}],
    }
    files.rule(for_each={"m": "medication"}, match=match, when=when, then=then)
    [finding] = files.decide({"medications": [med("7", "x", "nsaid", name="布洛芬", quantity=9)]}).findings
    assert finding.trace == (
        Step("when.all[0]", "m.agents", "includes", True, ("nsaid", "x"), "nsaid"),
        Step("when.all[1]", "m.quantity", "greater_than", True, 9.0, 5.0, "row.high"),
        Step(
            "when.all[2].not", "m.quantity", "less_than", False, 9.0, 2.0, "parameter share since 2025-01-01"
        ),
    )
    [row] = finding.rows
    assert (row.table, row.key, row.source, row.evidence) == (
        "limits",
        {"agent": "nsaid"},
        "A document",
        "recalled",
    )
    assert finding.to_be_verified, "a recalled row has yet to be verified"
    assert finding.message.zh == "布洛芬超过5"
    assert finding.message.en == "布洛芬 is over 5"
    assert finding.advice is not None
    assert finding.advice.en == "Stop 布洛芬"
    assert finding.suggestions[0].remove == "7"
    assert finding.suggestions[0].label.zh == "停用布洛芬"
    assert finding.references[0].title == "A document"


def test_findings_stand_worst_first_then_by_rule_and_subject(files: Any) -> None:
    for name, level in (("b", "warn"), ("a", "warn"), ("c", "block")):
        then = {"level": level, "message": {"zh": "有", "en": "Yes"}}
        files.rule(
            name, for_each={"line": "charge"}, when=leaf("line.quantity", "greater_than", 0), then=then
        )
    charges = [{"id": "2", "quantity": 1}, {"id": "1", "quantity": 1}]
    assert [(rule, ids) for rule, ids, _ in fired(files.decide({"charges": charges}))] == [
        ("demo.c", ["1"]),
        ("demo.c", ["2"]),
        ("demo.a", ["1"]),
        ("demo.a", ["2"]),
        ("demo.b", ["1"]),
        ("demo.b", ["2"]),
    ]


def test_codes_are_said_in_words(files: Any) -> None:
    then = {
        "level": "note",
        "message": {
            "zh": "{patient.sex} {visit.start} {patient.birth_date}",
            "en": "{patient.sex} {{x}} {patient.weight_kg}",
        },
    }
    files.rule(then=then)
    facts = {"patient": {"age_years": 90, "sex": "female"}, "visit": {"start": "2026-03-01T08:05:00"}}
    [finding] = files.decide(facts).findings
    assert finding.message.zh == "女 2026-03-01 08:05 未知"
    assert finding.message.en == "female {x} unknown"
