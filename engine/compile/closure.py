"""Compile conditions to closures with three-valued logic.

A condition compiles to a :class:`Test`: ``judge(env)`` says ``True``, ``False`` or ``None`` (unknown) and is
all that the hot path runs; ``steps(env)`` tells the same story for the trace.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from typing import Any

from engine.compile.direct import compare, judge_cell, judge_constant, judge_facts, judge_unary
from engine.compile.scope import AT, FACTS, ROW, Env, Reader, Scope
from engine.compile.telling import Few, Plain, Telling, told
from engine.decision import Step
from engine.knowledge import shown
from engine.operators import OPERATORS
from engine.rule import AllOf, Leaf, Node, Not
from engine.vocabulary import Type

__all__ = ["Judge", "Test", "all_of", "cheapest_first", "compile_node"]

Judge = Callable[[Env], bool | None]


_FEW = (Type.TEXT, Type.YES_NO)
_SUMMED_UP = 20  # the cost of what goes over the rows of a visit


class Test:
    """A compiled condition and the places of the environment that it reads."""

    __slots__ = ("cost", "judge", "leaf", "parts", "slots", "tellings")

    def __init__(
        self,
        judge: Judge,
        tellings: tuple[Telling, ...],
        slots: frozenset[int],
        leaf: tuple[Reader, str, Reader | None] | None = None,
        parts: tuple[Test, ...] = (),
        cost: int | None = None,
    ) -> None:
        self.cost = _cost(leaf) if cost is None else cost  # roughly, beside a fact against a constant
        self.judge, self.tellings, self.slots, self.leaf = judge, tellings, slots, leaf
        self.parts = parts  # the conditions that it joins by *and*

    def steps(self, env: Env) -> list[Step]:
        """Tell every condition as it stands in this environment."""
        return told(self.tellings, env)


def _cost(leaf: tuple[Reader, str, Reader | None] | None) -> int:
    if leaf is None:
        return _SUMMED_UP
    return sum(
        1 if one.get is not None or one.cell is not None else _SUMMED_UP if FACTS in one.slots else 2
        for one in (leaf[0], leaf[2])
        if one is not None and one.slots
    )


def cheapest_first(tests: Sequence[Test]) -> list[Test]:
    """Order conditions for judging: what comes out is the same in any order, what it costs is not."""
    return sorted(tests, key=lambda test: test.cost)


def all_of(tests: Sequence[Test]) -> Test:
    """Join tests by *and*: false wins over unknown, unknown over true."""
    if len(tests) == 1:
        return tests[0]
    judges = tuple(test.judge for test in cheapest_first(tests))
    judge = _pair(*judges) if len(judges) == 2 else _conjunction(judges)
    cost = sum(test.cost for test in tests)
    return Test(judge, _tellings_of(tests), _slots_of(tests), parts=tuple(tests), cost=cost)


def _pair(first: Judge, second: Judge) -> Judge:
    def judge(env: Env) -> bool | None:
        said = first(env)
        if said is False:
            return False
        other = second(env)
        return other if said else (False if other is False else None)

    return judge


def _conjunction(judges: tuple[Judge, ...]) -> Judge:
    def judge(env: Env) -> bool | None:
        outcome: bool | None = True
        for one in judges:
            said = one(env)
            if said is False:
                return False
            if said is None:
                outcome = None
        return outcome

    return judge


def _any_of(tests: Sequence[Test]) -> Test:
    judges = tuple(test.judge for test in cheapest_first(tests))

    def judge(env: Env) -> bool | None:
        outcome: bool | None = False
        for one in judges:
            said = one(env)
            if said:
                return True
            if said is None:
                outcome = None
        return outcome

    return Test(judge, _tellings_of(tests), _slots_of(tests), cost=sum(test.cost for test in tests))


def _not(test: Test) -> Test:
    inner = test.judge

    def judge(env: Env) -> bool | None:
        said = inner(env)
        return None if said is None else not said

    return Test(judge, test.tellings, test.slots, cost=test.cost)


def _tellings_of(tests: Sequence[Test]) -> tuple[Telling, ...]:
    return tuple(one for test in tests for one in test.tellings)


def _slots_of(tests: Sequence[Test]) -> frozenset[int]:
    return frozenset().union(*(test.slots for test in tests)) if tests else frozenset()


def compile_node(node: Node, scope: Scope) -> Test | None:
    """Compile a condition; faults go to ``scope.errors`` and give ``None``."""
    if isinstance(node, Leaf):
        return _compile_leaf(node, scope)
    if isinstance(node, Not):
        inner = compile_node(node.node, scope)
        return None if inner is None else _not(inner)
    compiled = [compile_node(child, scope) for child in node.nodes]
    tests = [test for test in compiled if test is not None]
    if len(tests) < len(compiled) or not tests:
        return None
    return all_of(tests) if isinstance(node, AllOf) else _any_of(tests)


def _compile_leaf(leaf: Leaf, scope: Scope) -> Test | None:
    operator = OPERATORS.get(leaf.operator)
    left = scope.name(leaf.name.name, leaf.path)
    if operator is None or not operator.condition:
        scope.fault(
            leaf.path,
            f"uses the operator {leaf.operator}, which there is not.",
            f"Use one of {', '.join(sorted(name for name, op in OPERATORS.items() if op.condition))}.",
            "R04",
        )
        return None
    if left is None:
        return None
    fitting = [signature for signature in operator.signatures if signature[0] is left.type]
    if not fitting:
        takes = sorted({signature[0] for signature in operator.signatures})
        scope.fault(
            leaf.path,
            f"applies {leaf.operator} to {left.name}, a {left.type}.",
            f"It takes {' or '.join(takes)}; a {left.type} takes {', '.join(_operators_for(left.type))}.",
            "R03",
        )
        return None
    wanted = tuple(signature[1] for signature in fitting)
    if wanted == (Type.NOTHING,):
        if leaf.more:
            scope.fault(leaf.path, f"gives {leaf.more[0][0]} to {leaf.operator}.", "Leave it out.", "R03")
            return None
        return _unary(leaf, left, operator.py, strict=operator.strict)
    more = dict(leaf.more)
    if leaf.value is None or more.keys() != set(operator.more):
        keys = ", ".join(("value", *operator.more))
        scope.fault(leaf.path, f"needs {keys} for {leaf.operator}.", f"Give {keys} and no more.", "R03")
        return None
    right = scope.value(leaf.value, wanted, f"{leaf.path}.value")
    extra = [scope.value(more[key], fitting[0][2:], f"{leaf.path}.{key}") for key in operator.more]
    if right is None or None in extra:
        return None
    readers = [right, *(reader for reader in extra if reader is not None)]
    return _binary(leaf, left, readers, operator.py)


def _operators_for(type_: Type) -> list[str]:
    return sorted(
        name
        for name, operator in OPERATORS.items()
        if operator.condition and any(signature[0] is type_ for signature in operator.signatures)
    )


def _unary(leaf: Leaf, left: Reader, py: Callable[[Any], bool], *, strict: bool) -> Test:
    read, path, name, operator = left.read, leaf.path, left.name, leaf.operator
    # Without a row nothing is known about its cells, not even whether they are empty.
    needs_row = ROW in left.slots

    def judge(env: Env) -> bool | None:
        value = read(env)
        if value is None and (strict or (needs_row and env[ROW] is None)):
            return None
        return py(value)

    def tell(env: Env) -> Step:
        value = read(env)
        if value is None and (strict or (needs_row and env[ROW] is None)):
            return Step(path, name, operator, None, None, None, "", left.missing(env))
        return Step(path, name, operator, py(value), shown(value), None)

    few = left.get is not None and left.type in _FEW
    telling: Telling = Few(tell, left.read, None) if few else tell
    return Test(judge_unary(left, operator) or judge, (telling,), left.slots, (left, operator, None))


def _binary(leaf: Leaf, left: Reader, readers: list[Reader], py: Callable[..., bool]) -> Test:
    read, right = left.read, readers[0]
    read_right = right.read
    slots = left.slots.union(*(reader.slots for reader in readers))
    judge: Judge
    if len(readers) == 1:
        py = compare(leaf.operator, left.type, py)
        if not right.slots:
            return _against_constant(leaf, left, right, py)
    else:
        return _with_more(leaf, left, readers, py)
    if left.get is not None and right.cell is not None:
        judge = judge_cell(left, right, py)
    elif left.get is not None and right.get is not None:
        judge = judge_facts(left, right, py)
    else:

        def judge(env: Env) -> bool | None:
            value = read(env)
            if value is None:
                return None
            other = read_right(env)
            return None if other is None else py(value, other)

    path, name, operator, source, by = leaf.path, left.name, leaf.operator, right.source, right.name
    sets = Type.TEXT_SET in (left.type, right.type)

    def tell(env: Env) -> Step:
        value, other = read(env), read_right(env)
        told_by = by if source is None else source(env)
        if value is None or other is None:
            missing = (() if value is not None else left.missing(env)) + (
                () if other is not None else right.missing(env)
            )
            return Step(path, name, operator, None, shown(value), shown(other), told_by, missing)
        outcome = py(value, other)
        if sets:
            value, other = shown(value), shown(other)
        return Step(path, name, operator, outcome, value, other, told_by)

    few = left.get is not None and left.type in _FEW and right.slots == {AT}
    telling: Telling = Few(tell, read, read_right) if few else tell
    return Test(judge, (telling,), slots, (left, operator, right))


def _with_more(leaf: Leaf, left: Reader, readers: list[Reader], py: Callable[..., bool]) -> Test:
    """Compile a condition with further keys, such as ``days``."""
    right, *_ = readers
    reads = tuple(reader.read for reader in (left, *readers))
    slots = left.slots.union(*(reader.slots for reader in readers))

    def judge(env: Env) -> bool | None:
        values = [one(env) for one in reads]
        return None if None in values else py(*values)

    def tell(env: Env) -> Step:
        value, other, *more = [one(env) for one in reads]
        unknown = value is None or other is None or None in more
        outcome = None if unknown else py(value, other, *more)
        missing: tuple[str, ...] = ()
        if unknown:
            missing = tuple(
                name
                for reader in (left, *readers)
                if reader.read(env) is None
                for name in reader.missing(env)
            )
        return Step(
            leaf.path, left.name, leaf.operator, outcome, shown(value), shown(other), right.by(env), missing
        )

    return Test(judge, (tell,), slots, (left, leaf.operator, right))


def _against_constant(leaf: Leaf, left: Reader, right: Reader, apply: Callable[..., bool]) -> Test:
    constant, operator = right.read([]), leaf.operator
    judge = judge_constant(left, operator, apply, constant)
    if left.get is not None and left.type not in _FEW and Type.TEXT_SET not in (left.type, right.type):
        path, name = sys.intern(leaf.path), sys.intern(left.name)
        plain = Plain(path, name, sys.intern(operator), left.get, left.slot, apply, constant)
        return Test(judge, (plain,), left.slots, (left, operator, right))

    def tell(env: Env) -> Step:
        value = left.read(env)
        outcome = None if value is None else apply(value, constant)
        missing = left.missing(env) if value is None else ()
        return Step(leaf.path, left.name, operator, outcome, shown(value), shown(constant), "", missing)

    few = left.get is not None and left.type in _FEW
    telling: Telling = Few(tell, left.read, None) if few else tell
    return Test(judge, (telling,), left.slots, (left, operator, right))
