"""Take away any check, table, parameter, collection or fact that a pass rests on: no pass remains."""

from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.decision import Decision, Stage, Status, Words
from engine.evaluate import evaluate
from engine.facts import Charge, Facts, Medication, Patient, Visit
from engine.knowledge import Column, Header, Table
from engine.snapshot import Snapshot, build_snapshot

WORDS = ("w", "x")
words = st.sampled_from(WORDS)
numbers = st.integers(0, 3).map(float)

LET = {
    "many": {
        "count": "charge",
        "as": "other",
        "where": {"name": "other.code", "operator": "equal_to", "value": {"name": "visit.region"}},
    }
}


def leaf(name: str, operator: str, value: Any) -> dict[str, Any]:
    return {"name": name, "operator": operator, "value": value}


# Every leaf is false on the facts below, and an `any` is false only if all of them are: each fact decides.
KINDS: tuple[tuple[dict[str, Any], list[dict[str, Any]], list[dict[str, Any]]], ...] = (
    (
        {"let": LET},
        [leaf("many", "greater_than", 100)],
        [
            leaf("patient.sex", "equal_to", "never"),
            leaf("patient.age_years", "greater_than", {"parameter": "limit"}),
            leaf("visit.region", "is_one_of", ["never"]),
            {"not": leaf("patient.age_years", "less_than", {"parameter": "limit"})},
        ],
    ),
    (
        {"for_each": {"m": "medication"}, "match": {"row": {"table": "codes", "on": {"a": "m.code"}}}},
        [leaf("m.quantity", "greater_than", {"name": "row.high"})],
        [
            leaf("m.route", "equal_to", "never"),
            leaf("m.agents", "includes", "never"),
            leaf("m.quantity", "greater_than", {"parameter": "limit"}),
        ],
    ),
    (
        {
            "for_each": {"first": "medication", "second": "medication"},
            "match": {"row": {"table": "pairs", "on": {"a": "first.agents", "b": "second.agents"}}},
        },
        [leaf("first.quantity", "greater_than", {"name": "row.high"})],
        [leaf("second.route", "equal_to", "never"), leaf("patient.sex", "equal_to", "never")],
    ),
    (
        {"for_each": {"c": "charge"}},
        [leaf("c.code", "equal_to", "never")],
        [leaf("c.quantity", "greater_than", 100), leaf("visit.region", "equal_to", "never")],
    ),
)


def table(name: str, keys: int) -> Table:
    """Return a table with a row for every combination of words."""
    rows: list[Any] = [(a, b, 100.0, "a document", "verified") for a in WORDS for b in WORDS]
    if keys == 1:
        rows = [(a, a, 100.0, "a document", "verified") for a in WORDS]
    columns = {"a": Column("text"), "b": Column("text"), "high": Column("number")}
    columns |= {"source": Column("text"), "evidence": Column("text")}
    return Table(Header(name, Words(name, name), 1, ("a", "b")[:keys], columns, "a document"), rows, name)


@st.composite
def rules(draw: st.DrawFn) -> list[dict[str, Any]]:
    chosen = draw(st.lists(st.sampled_from(range(len(KINDS))), min_size=1, unique=True))
    found = []
    for number in chosen:
        shape, always, perhaps = KINDS[number]
        nodes = always + draw(st.lists(st.sampled_from(perhaps), unique_by=str))
        tree: Any = {"any": draw(st.permutations(nodes))}
        found.append(
            {
                "id": f"set.rule_{number}",
                "title": {"zh": "规则", "en": "Rule"},
                "status": "active",
                "version": 1,
                "valid_from": "2025-01-01",
                "stages": ["order_sign"],
                **shape,
                "when": {"all": [tree]} if draw(st.booleans()) else tree,
                "then": {"level": "warn", "message": {"zh": "有问题", "en": "A finding"}},
            }
        )
    return found


medications = st.tuples(words, words, st.frozensets(words, min_size=1), numbers)
charges = st.tuples(words, numbers)


@st.composite
def known_facts(draw: st.DrawFn) -> Facts:
    drugs = draw(st.lists(medications, min_size=2, max_size=3))
    lines = draw(st.lists(charges, min_size=1, max_size=2))
    return Facts(
        patient=Patient(sex=draw(words), age_years=draw(numbers)),  # type: ignore[arg-type]
        visit=Visit(region=draw(words)),
        medications=tuple(
            Medication(id=f"m{i}", code=code, route=route, agents=agents, quantity=quantity)
            for i, (code, route, agents, quantity) in enumerate(drugs)
        ),
        charges=tuple(Charge(id=f"c{i}", code=code, quantity=n) for i, (code, n) in enumerate(lines)),
    )


COLLECTION = {"m": "medications", "first": "medications", "second": "medications", "c": "charges"}


def read_by(rule: dict[str, Any]) -> set[tuple[str, str]]:
    """Return (attribute of the facts, field) of every fact that a rule reads."""
    read: set[tuple[str, str]] = set()
    if "let" in rule:
        read |= {("charges", "code"), ("visit", "region")}
    names = [name for body in rule.get("match", {}).values() for name in body["on"].values()]
    todo: list[Any] = [rule["when"]]
    while todo:
        node = todo.pop()
        if isinstance(node, list):
            todo += node
        elif isinstance(node, dict):
            if "name" in node:
                names.append(node["name"])
            todo += [child for key, child in node.items() if key != "name"]
    for name in names:
        head, _, field = name.partition(".")
        if field and head != "row":
            read.add((COLLECTION.get(head, head), field))
    return read


def without_each_fact(facts: Facts, rule: dict[str, Any]) -> Iterator[tuple[str, Facts]]:
    """Yield the facts with one fact, or one collection, that the rule read taken away."""
    for attribute, field in sorted(read_by(rule)):
        held = getattr(facts, attribute)
        if not isinstance(held, tuple):
            bare = msgspec.structs.replace(held, **{field: None})
            yield f"{attribute}.{field}", msgspec.structs.replace(facts, **{attribute: bare})
            continue
        yield attribute, msgspec.structs.replace(facts, **{attribute: None})
        for i, item in enumerate(held):
            items = list(held)
            items[i] = msgspec.structs.replace(item, **{field: None})
            changed = msgspec.structs.replace(facts, **{attribute: tuple(items)})
            yield f"{attribute}[{i}].{field}", changed


def decide(world: SimpleNamespace, snapshot: Snapshot, facts: Facts) -> Decision:
    return evaluate(snapshot, facts, world.at, Stage.ORDER_SIGN)


@settings(max_examples=40)
@given(raw=rules(), facts=known_facts())
def test_whatever_a_pass_rests_on_cannot_be_taken_away_unseen(
    world: SimpleNamespace, raw: list[dict[str, Any]], facts: Facts
) -> None:
    read = [world.read(one) for one in raw]
    tables = {"codes": table("codes", 1), "pairs": table("pairs", 2)}
    values = [{"from": "2020-01-01", "value": 50, "reference": "a document"}]
    label = {"zh": "限", "en": "Limit"}
    parameters = {
        "limit": world.parameter({"id": "limit", "title": label, "type": "number", "values": values})
    }
    whole, errors = build_snapshot("r1", read, tables, parameters)
    assert errors == []
    passed = decide(world, whole, facts)
    assert passed.status is Status.PASSED
    assert passed.ran == passed.required == {rule.id for rule in read}

    for rule_id in whole.checks:
        again, _ = build_snapshot("r1", read, tables, parameters)  # a check belongs to one snapshot
        checks = tuple(check for check in again.checks.values() if check.rule.id != rule_id)
        fewer = Snapshot("r1", tuple(read), checks, {}, whole.drugs, tables, parameters)
        decision = decide(world, fewer, facts)
        assert decision.status is Status.NOT_CHECKED
        assert decision.required - decision.ran == {rule_id}

    for rule in read:
        if rule.join is not None:
            left = {name: kept for name, kept in tables.items() if name != rule.join.table}
            fewer, errors = build_snapshot("r1", read, left, parameters)
            assert errors != []
            decision = decide(world, fewer, facts)
            assert decision.status is Status.NOT_CHECKED
            assert [gap.rule for gap in decision.not_checked] == [rule.id]
            assert rule.join.table in decision.not_checked[0].fault

    if '"parameter"' in msgspec.json.encode(raw).decode():
        fewer, _ = build_snapshot("r1", read, tables, {})
        assert decide(world, fewer, facts).status is Status.NOT_CHECKED

    for rule_raw in raw:
        for what, bare in without_each_fact(facts, rule_raw):
            decision = decide(world, whole, bare)
            assert decision.status is Status.NOT_CHECKED, what
            assert rule_raw["id"] not in decision.ran, what
            gaps = [gap for gap in decision.not_checked if gap.rule == rule_raw["id"]]
            assert gaps, what
            assert all(gap.missing for gap in gaps), what


@settings(max_examples=80)
@given(data=st.data())
def test_taking_away_any_fact_of_any_pass_leaves_ran_without_what_is_open(
    world: SimpleNamespace, data: st.DataObject
) -> None:
    """With any rules, *not* and *any* among them, a missing fact may rightly leave a pass: but only if the
    checks that ran are still those required, and no check that ran is open anywhere."""
    snapshot = data.draw(world.worlds())
    facts = data.draw(world.facts())
    for attribute in ("medications", "charges", "diagnoses", "patient", "visit"):
        bare = msgspec.structs.replace(
            facts,
            **{attribute: {"patient": Patient(), "visit": Visit()}.get(attribute)},
        )
        decision = decide(world, snapshot, bare)
        open_rules = {gap.rule for gap in decision.not_checked}
        assert decision.ran.isdisjoint(open_rules)
        if decision.status is Status.PASSED:
            assert decision.ran == decision.required
            assert not open_rules
