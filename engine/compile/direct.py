"""Judge a fact against a constant or a cell in one call, where the general way takes three.

The meaning of an operator stands in its own file; what is here says the same for the types known when a rule
is compiled, and ``tests/benchmarks/test_direct.py`` holds the two together.
"""

from __future__ import annotations

import functools
import operator as python
from collections.abc import Callable
from decimal import Decimal
from typing import Any

from engine.compile.scope import ROW, Env, Reader
from engine.operators._operator import EPSILON
from engine.vocabulary import Type

__all__ = ["calculate", "compare", "judge_cell", "judge_constant", "judge_facts", "judge_unary"]

_Judge = Callable[[Env], bool | None]
_Get = Callable[[Any], Any]

_NUMBERS: dict[str, Callable[[Any, Any], bool]] = {
    "equal_to": lambda left, right: abs(left - right) <= EPSILON,
    "not_equal_to": lambda left, right: abs(left - right) > EPSILON,
    "greater_than": lambda left, right: left - right > EPSILON,
    "greater_than_or_equal_to": lambda left, right: left - right >= -EPSILON,
    "less_than": lambda left, right: right - left > EPSILON,
    "less_than_or_equal_to": lambda left, right: right - left >= -EPSILON,
}
_TEXTS: dict[str, Callable[[Any, Any], bool]] = {"equal_to": python.eq, "not_equal_to": python.ne}


def _overlap(left: Any, right: Any) -> bool:
    """Say whether two periods overlap; one without length counts as the moment of its start."""
    (begun, ended), (other_begun, other_ended) = left, right
    if begun < other_begun:
        return bool(other_begun < ended)
    return begun == other_begun or bool(begun < other_ended)


_QUICK: dict[Type, dict[str, Callable[[Any, Any], bool]]] = {
    Type.INTERVAL: {"overlaps": _overlap},
    Type.NUMBER: _NUMBERS,
    Type.TEXT: _TEXTS,
    Type.MONEY: {**_TEXTS, "greater_than": python.gt, "less_than": python.lt},
}


def compare(operator: str, type_: Type, general: Callable[..., bool]) -> Callable[..., bool]:
    """Return what compares two known values of this type: the operator's own function, or a quicker one."""
    return _QUICK[type_].get(operator, general) if type_ in _QUICK else general


def calculate(operator: str, types: tuple[Type, ...], general: Callable[..., Any]) -> Callable[..., Any]:
    """Return what works out a value of these types: the operator's own function, or a quicker one."""
    if operator == "multiply" and types == (Type.NUMBER, Type.NUMBER):
        return python.mul
    if operator == "multiply":

        def multiply(left: Any, right: Any) -> Any:
            return _exact(left) * _exact(right)

        return multiply
    return {"add": python.add, "subtract": python.sub}.get(operator, general)


def _exact(value: Any) -> Any:
    """Return a number as it is written; the two zeros look the same to a cache."""
    return value if type(value) is Decimal else _written(value) if value else Decimal(str(value))


@functools.lru_cache(maxsize=1024, typed=True)
def _written(value: float) -> Decimal:
    return Decimal(str(value))


def judge_constant(left: Reader, operator: str, apply: Callable[..., bool], constant: Any) -> _Judge:
    """Return the judge of a fact against a constant."""
    get, slot = left.get, left.slot
    if get is None:
        read = left.read

        def judge_read(env: Env) -> bool | None:
            value = read(env)
            return None if value is None else apply(value, constant)

        return judge_read
    if (operator, left.type) in _MAKERS:
        return _shared(operator, left.type, get, slot, constant)

    def judge(env: Env) -> bool | None:
        value = get(env[slot])
        return None if value is None else apply(value, constant)

    return judge


@functools.lru_cache(maxsize=8192)
def _shared(operator: str, type_: Type, get: _Get, slot: int, constant: Any) -> _Judge:
    """Return the same judge for the same condition: ten thousand rules hold only some hundred of them."""
    return _MAKERS[operator, type_](get, slot, constant)


def judge_cell(left: Reader, right: Reader, apply: Callable[..., bool]) -> _Judge:
    """Return the judge of a fact against a column of the matched row."""
    get, slot, index = left.get, left.slot, right.cell
    if get is None or index is None:
        raise ValueError("a fact and a cell are wanted")

    def judge(env: Env) -> bool | None:
        value, row = get(env[slot]), env[ROW]
        if value is None or row is None:
            return None
        other = row[index]
        return None if other is None else apply(value, other)

    return judge


def judge_facts(left: Reader, right: Reader, apply: Callable[..., bool]) -> _Judge:
    """Return the judge of a fact against another fact."""
    get, slot, get_right, slot_right = left.get, left.slot, right.get, right.slot
    if get is None or get_right is None:
        raise ValueError("two facts are wanted")

    def judge(env: Env) -> bool | None:
        value, other = get(env[slot]), get_right(env[slot_right])
        return None if value is None or other is None else apply(value, other)

    return judge


def judge_unary(left: Reader, operator: str) -> _Judge | None:
    """Return the judge of a fact by itself, or ``None`` where there is no quicker one."""
    get, slot = left.get, left.slot
    if get is None:
        return None
    if operator == "is_known":
        return lambda env: get(env[slot]) is not None
    if operator == "is_unknown":
        return lambda env: get(env[slot]) is None
    if operator == "is_true":
        return lambda env: get(env[slot])
    if operator == "is_false":
        return lambda env: None if (value := get(env[slot])) is None else not value
    return None


def _equal_number(get: _Get, slot: int, constant: float) -> _Judge:
    def judge(env: Env) -> bool | None:
        value = get(env[slot])
        return None if value is None else abs(value - constant) <= EPSILON

    return judge


def _unequal_number(get: _Get, slot: int, constant: float) -> _Judge:
    def judge(env: Env) -> bool | None:
        value = get(env[slot])
        return None if value is None else abs(value - constant) > EPSILON

    return judge


def _greater(get: _Get, slot: int, constant: float) -> _Judge:
    def judge(env: Env) -> bool | None:
        value = get(env[slot])
        return None if value is None else value - constant > EPSILON

    return judge


def _at_least(get: _Get, slot: int, constant: float) -> _Judge:
    def judge(env: Env) -> bool | None:
        value = get(env[slot])
        return None if value is None else value - constant >= -EPSILON

    return judge


def _less(get: _Get, slot: int, constant: float) -> _Judge:
    def judge(env: Env) -> bool | None:
        value = get(env[slot])
        return None if value is None else constant - value > EPSILON

    return judge


def _at_most(get: _Get, slot: int, constant: float) -> _Judge:
    def judge(env: Env) -> bool | None:
        value = get(env[slot])
        return None if value is None else constant - value >= -EPSILON

    return judge


def _equal_text(get: _Get, slot: int, constant: str) -> _Judge:
    def judge(env: Env) -> bool | None:
        value = get(env[slot])
        return None if value is None else value == constant

    return judge


def _unequal_text(get: _Get, slot: int, constant: str) -> _Judge:
    def judge(env: Env) -> bool | None:
        value = get(env[slot])
        return None if value is None else value != constant

    return judge


def _one_of(get: _Get, slot: int, constant: frozenset[str]) -> _Judge:
    def judge(env: Env) -> bool | None:
        value = get(env[slot])
        return None if value is None else value in constant

    return judge


def _includes(get: _Get, slot: int, constant: str) -> _Judge:
    def judge(env: Env) -> bool | None:
        value = get(env[slot])
        return None if value is None else constant in value

    return judge


def _shares(get: _Get, slot: int, constant: frozenset[str]) -> _Judge:
    def judge(env: Env) -> bool | None:
        value = get(env[slot])
        return None if value is None else not value.isdisjoint(constant)

    return judge


_MAKERS: dict[tuple[str, Type], Callable[[_Get, int, Any], _Judge]] = {
    ("equal_to", Type.NUMBER): _equal_number,
    ("not_equal_to", Type.NUMBER): _unequal_number,
    ("greater_than", Type.NUMBER): _greater,
    ("greater_than_or_equal_to", Type.NUMBER): _at_least,
    ("less_than", Type.NUMBER): _less,
    ("less_than_or_equal_to", Type.NUMBER): _at_most,
    ("equal_to", Type.TEXT): _equal_text,
    ("not_equal_to", Type.TEXT): _unequal_text,
    ("is_one_of", Type.TEXT): _one_of,
    ("includes", Type.TEXT_SET): _includes,
    ("shares_at_least_one_element_with", Type.TEXT_SET): _shares,
}
