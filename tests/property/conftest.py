"""Strategies shared by the property tests: small worlds of rules, tables and facts that collide often."""

from __future__ import annotations

import datetime as dt
import functools
from decimal import Decimal
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest
from hypothesis import strategies as st

from engine.decision import Words
from engine.facts import Charge, Diagnosis, Facts, Medication, Patient, Visit
from engine.knowledge import Column, Header, Table
from engine.parameters import Parameter, read_parameter
from engine.rule import Rule, read_rule
from engine.snapshot import Snapshot, build_snapshot

AT = dt.datetime(2026, 3, 1, 10)
WORDS = ("w", "x", "y", "z")
LEVELS = ("block", "reason", "warn", "note")
SHAPES: tuple[tuple[dict[str, str], tuple[dict[str, Any], ...]], ...] = (
    ({}, ({}, {"row": {"table": "codes", "on": {"code": "visit.region"}}})),
    (
        {"m": "medication"},
        (
            {},
            {"row": {"table": "codes", "on": {"code": "m.code"}}},
            {"row": {"table": "codes", "on": {"code": "m.agents"}}},
            {"row": {"table": "sets", "on": {"agents": "m.agents", "route": "m.route"}}},
            {"row": {"table": "pairs", "on": {"a": "patient.sex", "b": "m.code"}}},
        ),
    ),
    (
        {"a": "medication", "b": "medication"},
        (
            {},
            {"row": {"table": "pairs", "on": {"a": "a.agents", "b": "b.agents"}}},
            {"row": {"table": "pairs", "on": {"a": "b.agents", "b": "a.agents"}}},
            {"row": {"table": "wild", "on": {"a": "a.code", "b": "b.code"}}},
            {"row": {"table": "codes", "on": {"code": "a.code"}}},
            {"row": {"table": "codes", "on": {"code": "b.code"}}},
            {"row": {"table": "codes", "on": {"code": "visit.region"}}},
        ),
    ),
    (
        {"m": "medication", "d": "diagnosis"},
        (
            {},
            {"row": {"table": "pairs", "on": {"a": "m.agents", "b": "d.prefixes"}}},
            {"row": {"table": "pairs", "on": {"a": "d.prefixes", "b": "m.agents"}}},
            {"row": {"table": "sets", "on": {"agents": "m.agents", "route": "d.name"}}},
        ),
    ),
    ({"c": "charge"}, ({}, {"row": {"table": "codes", "on": {"code": "c.code"}}})),
)
FIELDS = {
    "medication": {
        "code": "text",
        "route": "text",
        "agents": "text_set",
        "quantity": "number",
        "as_needed": "boolean",
    },
    "diagnosis": {"name": "text", "prefixes": "text_set", "main": "boolean"},
    "charge": {"code": "text", "quantity": "number", "fund_amount": "money"},
}
COLUMNS = {
    "codes": {"code": "text", "low": "number", "name": "text", "level": "text"},
    "pairs": {"a": "text", "b": "text", "low": "number", "level": "text"},
    "wild": {"a": "text", "b": "text", "low": "number", "level": "text"},
    "sets": {"agents": "text_set", "route": "text", "low": "number", "level": "text"},
}
WILD = {("wild", "b"), ("sets", "route")}

words = st.sampled_from(WORDS)
numbers = st.integers(0, 3).map(float)
_COIN = st.booleans()


def _maybe(strategy: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.one_of(st.none(), strategy, strategy, strategy)


_VALUES: dict[str, st.SearchStrategy[Any]] = {
    "text": words,
    "number": numbers,
    "money": st.integers(0, 3).map(Decimal),
    "boolean": st.booleans(),
    "text_set": st.frozensets(words, max_size=2),
}
_OPERATORS = {
    "text": ("equal_to", "not_equal_to", "is_one_of", "is_not_one_of", "non_empty", "is_known", "is_unknown"),
    "number": ("equal_to", "greater_than", "less_than_or_equal_to", "is_known"),
    "money": ("equal_to", "greater_than", "less_than"),
    "boolean": ("is_true", "is_false", "is_unknown"),
    "text_set": ("includes", "shares_at_least_one_element_with", "shares_no_elements_with", "is_known"),
}


def _cell(table: str, column: str, type_: str) -> st.SearchStrategy[Any]:
    if column == "level":
        return st.sampled_from(LEVELS)
    strategy = st.frozensets(words, min_size=1, max_size=2) if type_ == "text_set" else _VALUES[type_]
    return _maybe(strategy) if (table, column) in WILD or column in ("low", "name") else strategy


_DAYS = st.sampled_from(
    [None, None, AT.date() - dt.timedelta(days=1), AT.date(), AT.date() + dt.timedelta(days=1)]
)


def _tables(name: str) -> st.SearchStrategy[Table]:
    types = {**COLUMNS[name], "source": "text", "evidence": "text", "valid_from": "date", "valid_to": "date"}
    columns = {column: Column(type_) for column, type_ in types.items()}  # type: ignore[arg-type]
    key = tuple(list(COLUMNS[name])[: 1 if name == "codes" else 2])
    header = Header(name, Words(name, name), 1, key, columns, "a document")
    cells = [_cell(name, column, type_) for column, type_ in COLUMNS[name].items()]
    row = st.tuples(*cells, st.just("a document"), st.just("verified"), _DAYS, _DAYS)
    return st.lists(row, max_size=4).map(lambda rows: Table(header, rows, name))


TABLES = {name: _tables(name) for name in COLUMNS}


def _names(
    for_each: dict[str, str], match: dict[str, Any], lets: dict[str, Any]
) -> tuple[tuple[str, str], ...]:
    names = [("patient.sex", "text"), ("patient.age_years", "number"), ("visit.region", "text")]
    names += [
        (f"{word}.{field}", type_) for word, kind in for_each.items() for field, type_ in FIELDS[kind].items()
    ]
    if match:
        names += [(f"row.{column}", type_) for column, type_ in COLUMNS[match["row"]["table"]].items()]
    return (*names, *((word, "number") for word in lets))


@functools.cache
def _trees(names: tuple[tuple[str, str], ...]) -> st.SearchStrategy[Any]:
    return st.lists(tree_of(_leaf(names)), min_size=1, max_size=3)


@st.composite
def _leaf(draw: st.DrawFn, names: tuple[tuple[str, str], ...]) -> dict[str, Any]:
    name, type_ = draw(st.sampled_from(names))
    operator = draw(st.sampled_from(_OPERATORS[type_]))
    if operator in ("is_true", "is_false", "is_known", "is_unknown", "non_empty"):
        return {"name": name, "operator": operator}
    wanted = {"includes": "text", "is_one_of": "text_set", "is_not_one_of": "text_set"}.get(operator, type_)
    others = [other for other, other_type in names if other_type == wanted and other != name]
    if draw(_COIN) and others:
        return {"name": name, "operator": operator, "value": {"name": draw(st.sampled_from(others))}}
    value = draw(_VALUES[wanted])
    if isinstance(value, frozenset):
        value = sorted(value)
    return {"name": name, "operator": operator, "value": int(value) if isinstance(value, Decimal) else value}


def tree_of(leaf: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """Return trees of all, any and not over leaves."""
    return st.recursive(
        leaf,
        lambda node: st.one_of(
            st.lists(node, min_size=1, max_size=3).map(lambda nodes: {"all": nodes}),
            st.lists(node, min_size=1, max_size=3).map(lambda nodes: {"any": nodes}),
            node.map(lambda one: {"not": one}),
        ),
        max_leaves=4,
    )


@st.composite
def _rule(draw: st.DrawFn, number: int) -> dict[str, Any]:
    for_each, matches = draw(st.sampled_from(SHAPES))
    match = draw(st.sampled_from(matches))
    lets: dict[str, Any] = {}
    if draw(st.integers(0, 3)) == 0:
        bound = next(
            (f"{word}.code" for word, kind in for_each.items() if "code" in FIELDS[kind]), "visit.region"
        )
        condition = {"name": "other.code", "operator": "equal_to", "value": {"name": bound}}
        lets["many"] = {"count": "charge", "as": "other", "where": condition}
    level: Any = draw(st.sampled_from(LEVELS))
    if match and draw(_COIN):
        level = {"name": "row.level"}
    return {
        "id": f"set.rule_{number}",
        "title": {"zh": "规则", "en": "Rule"},
        "status": draw(st.sampled_from(["active", "active", "active", "shadow"])),
        "version": 1,
        "valid_from": "2025-01-01",
        "stages": ["order_sign"],
        "for_each": for_each,
        "match": match,
        "let": lets,
        "when": {"all": draw(_trees(_names(for_each, match, lets)))},
        "then": {"level": level, "message": {"zh": "有问题", "en": "A finding"}},
    }


def _items(struct: Any, kind: str) -> st.SearchStrategy[Any]:
    focus = st.sampled_from([True, True, False])
    one = st.fixed_dictionaries({name: _maybe(_VALUES[type_]) for name, type_ in FIELDS[kind].items()})
    items = st.lists(st.tuples(focus, one), max_size=3).map(
        lambda drawn: tuple(
            struct(id=f"{kind[0]}{i}", in_focus=in_focus, **fields)
            for i, (in_focus, fields) in enumerate(drawn)
        )
    )
    return _maybe(items)


_FACTS = st.builds(
    Facts,
    patient=st.builds(Patient, sex=_maybe(words), age_years=_maybe(numbers)),
    visit=st.builds(Visit, region=_maybe(words)),
    medications=_items(Medication, "medication"),
    diagnoses=_items(Diagnosis, "diagnosis"),
    charges=_items(Charge, "charge"),
)


def facts() -> st.SearchStrategy[Facts]:
    """Return facts in which every part may be unknown."""
    return _FACTS


def read(raw: dict[str, Any]) -> Rule:
    """Return a rule that must be readable."""
    rule, errors = read_rule(msgspec.json.decode(msgspec.json.encode(raw)), raw["id"])
    assert rule is not None, errors
    assert errors == []
    return rule


def parameter(raw: dict[str, Any]) -> Parameter:
    """Return a parameter that must be readable."""
    found, errors = read_parameter(msgspec.json.decode(msgspec.json.encode(raw)), raw["id"])
    assert found is not None, errors
    return found


def snapshot_of(
    raw_rules: list[dict[str, Any]], tables: dict[str, Table], parameters: dict[str, Parameter] | None = None
) -> Snapshot:
    """Return a snapshot that must compile."""
    snapshot, errors = build_snapshot("r1", [read(raw) for raw in raw_rules], tables, parameters or {})
    assert errors == []
    return snapshot


@st.composite
def worlds(draw: st.DrawFn) -> Snapshot:
    """Return a release of a few rules of any shape over random tables."""
    rules = [draw(_rule(number)) for number in range(draw(st.integers(1, 3)))]
    used = {body["table"] for rule in rules for body in rule["match"].values()}
    return snapshot_of(rules, {name: draw(TABLES[name]) for name in sorted(used)})


@pytest.fixture(scope="session")
def world() -> SimpleNamespace:
    """Hand the strategies and builders to the tests."""
    return SimpleNamespace(
        at=AT,
        facts=facts,
        worlds=worlds,
        tree_of=tree_of,
        read=read,
        parameter=parameter,
        snapshot_of=snapshot_of,
    )
