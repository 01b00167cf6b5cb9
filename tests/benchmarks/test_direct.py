"""The quick ways of judging say what the operators say."""

from __future__ import annotations

import datetime as dt
import itertools
from decimal import Decimal
from typing import Any

import pytest

from engine.compile.direct import calculate, compare, judge_constant, judge_facts, judge_unary
from engine.compile.scope import ENVIRONMENT, FIRST, SECOND, Env, Reader
from engine.operators import OPERATORS, Operator
from engine.vocabulary import Type

_PLAIN = (Type.TEXT, Type.NUMBER, Type.MONEY, Type.DATE, Type.MOMENT, Type.TEXT_SET, Type.INTERVAL)
_NUMBERS = (0.0, 1.0, 1.0 + 5e-7, 1.0 - 5e-7, 1.0 + 2e-6, 1.0 - 2e-6, 0.1 * 3, 0.3, -4.0)


class _Item:
    def __init__(self, value: Any) -> None:
        self.value = value


def _reader(type_: Type, slot: int) -> Reader:
    def get(item: Any) -> Any:
        return item.value

    return Reader(type_, lambda env: get(env[slot]), "item.value", frozenset({slot}), get=get, slot=slot)


def _bound(left: Any, right: Any = None) -> Env:
    env: Env = [None] * ENVIRONMENT
    env[FIRST], env[SECOND] = _Item(left), _Item(right)
    return env


def _binary() -> list[tuple[Operator, Type, Type]]:
    return [
        (operator, signature[0], signature[1])
        for operator in OPERATORS.values()
        if operator.condition
        for signature in operator.signatures
        if len(signature) == 2 and signature[0] in _PLAIN and signature[1] is not Type.NOTHING
    ]


def _type_of(value: Any) -> set[Type]:
    if isinstance(value, str):
        return {Type.TEXT}
    if isinstance(value, float):
        return {Type.NUMBER}
    return {Type.TEXT_SET} if isinstance(value, frozenset) else set()


@pytest.mark.parametrize(
    ("operator", "left", "right"),
    [
        pytest.param(operator, left, right, id=f"{operator.name}-{left}-{right}")
        for operator, left, right in _binary()
    ],
)
def test_the_quick_way_says_what_the_operator_says(operator: Operator, left: Type, right: Type) -> None:
    quick = compare(operator.name, left, operator.py)
    facts = judge_facts(_reader(left, FIRST), _reader(right, SECOND), quick)
    operands = [values for values, _ in operator.examples if len(values) == 2]
    operands = [(a, b) for a, b in operands if None not in (a, b) and left in _type_of(a)]
    if left is right is Type.NUMBER:
        operands += [(a, b) for a in _NUMBERS for b in _NUMBERS]
    for a, b in operands:
        wanted = operator(a, b)
        against = judge_constant(_reader(left, FIRST), operator.name, quick, b)
        assert against(_bound(a)) == wanted
        assert facts(_bound(a, b)) == wanted
        assert against(_bound(None)) is None
        assert facts(_bound(None, b)) is None
        assert facts(_bound(a, None)) is None


@pytest.mark.parametrize("value", [None, "a", ""])
@pytest.mark.parametrize("name", ["is_known", "is_unknown"])
def test_a_fact_by_itself_is_judged_as_the_operator_does(name: str, value: str | None) -> None:
    judge = judge_unary(_reader(Type.TEXT, FIRST), name)
    assert judge is not None
    assert judge(_bound(value)) == OPERATORS[name](value)


@pytest.mark.parametrize("name", ["multiply", "add", "subtract", "divide"])
def test_a_value_is_worked_out_as_the_operator_does_to_the_last_digit(name: str) -> None:
    operator = OPERATORS[name]
    numbers, money = (3.0, 0.1, -0.0, 0.0, 1e-7, 3), (Decimal("1.10"), Decimal(0), Decimal("-2.5"))
    values = {Type.NUMBER: numbers, Type.MONEY: money}
    for types in operator.signatures:
        if not set(types) <= values.keys():
            continue
        quick = calculate(name, types, operator.py)
        for left in values[types[0]]:
            for right in values[types[1]]:
                assert str(quick(left, right)) == str(operator(left, right))


def test_periods_overlap_as_the_operator_says_even_empty_open_and_backward_ones() -> None:
    begun, tick = dt.datetime(2026, 3, 1), dt.timedelta.resolution
    moments = (begun, begun + tick, begun + dt.timedelta(days=1), dt.datetime.max)
    periods = list(itertools.product(moments[:-1], moments))
    quick = compare("overlaps", Type.INTERVAL, OPERATORS["overlaps"].py)
    for left, right in itertools.product(periods, periods):
        assert quick(left, right) == OPERATORS["overlaps"](left, right)
