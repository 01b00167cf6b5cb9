"""Compile conditions and derived values to closures with three-valued logic.

A condition compiles to a :class:`Test`: ``judge(env)`` says ``True``, ``False`` or ``None`` (unknown) and is
all that the hot path runs; ``steps(env)`` tells the same story for the trace.
"""

from __future__ import annotations

import datetime as dt
import itertools
import sys
from collections.abc import Callable, Sequence
from decimal import Decimal
from operator import attrgetter
from typing import Any

from engine.compile.direct import compare, judge_cell, judge_constant, judge_facts, judge_unary
from engine.compile.scope import FACTS, MEMO, OTHER, ROW, Counted, Env, Reader, Scope
from engine.decision import Step
from engine.facts import COLLECTIONS
from engine.knowledge import shown
from engine.operators import OPERATORS
from engine.operators._operator import instant
from engine.rule import Aggregate, AllOf, Calculation, Leaf, Node, Not
from engine.vocabulary import Type

__all__ = ["Judge", "Telling", "Test", "all_of", "compile_let", "compile_node", "told"]

Judge = Callable[[Env], bool | None]


Tell = Callable[[Env], Step]
Plain = tuple[str, str, str, Callable[[Any], Any], int, Callable[..., bool], Any]
Telling = Tell | Plain
"""How one condition is told: by a function, or, where it is a plain fact against a constant, by its path,
name and operator, how to get the fact from which slot, the comparison and the constant."""


class Test:
    """A compiled condition and the places of the environment that it reads."""

    __slots__ = ("judge", "leaf", "parts", "slots", "tellings")

    def __init__(
        self,
        judge: Judge,
        tellings: tuple[Telling, ...],
        slots: frozenset[int],
        leaf: tuple[Reader, str, Reader | None] | None = None,
        parts: tuple[Test, ...] = (),
    ) -> None:
        self.judge, self.tellings, self.slots, self.leaf = judge, tellings, slots, leaf
        self.parts = parts  # the conditions that it joins by *and*

    def steps(self, env: Env) -> list[Step]:
        """Tell every condition as it stands in this environment."""
        return told(self.tellings, env)


def told(tellings: tuple[Telling, ...], env: Env) -> list[Step]:
    """Tell conditions; in one loop, since every finding carries its trace."""
    steps: list[Step] = []
    for telling in tellings:
        if not isinstance(telling, tuple):
            steps.append(telling(env))
            continue
        path, name, operator, get, slot, apply, constant = telling
        value = get(env[slot])
        if value is None:
            steps.append(Step(path, name, operator, None, None, constant, "", (name,)))
        else:
            steps.append(Step(path, name, operator, apply(value, constant), value, constant))
    return steps


def all_of(tests: Sequence[Test]) -> Test:
    """Join tests by *and*: false wins over unknown, unknown over true."""
    if len(tests) == 1:
        return tests[0]
    judges = tuple(test.judge for test in tests)
    judge = _pair(*judges) if len(judges) == 2 else _conjunction(judges)
    return Test(judge, _tellings_of(tests), _slots_of(tests), parts=tuple(tests))


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
    judges = tuple(test.judge for test in tests)

    def judge(env: Env) -> bool | None:
        outcome: bool | None = False
        for one in judges:
            said = one(env)
            if said:
                return True
            if said is None:
                outcome = None
        return outcome

    return Test(judge, _tellings_of(tests), _slots_of(tests))


def _not(test: Test) -> Test:
    inner = test.judge

    def judge(env: Env) -> bool | None:
        said = inner(env)
        return None if said is None else not said

    return Test(judge, test.tellings, test.slots)


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

    quick = judge_unary(left, operator)
    return Test(quick or judge, (tell,), left.slots, (left, operator, None))


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

    return Test(judge, (tell,), slots, (left, operator, right))


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
    if left.get is not None and Type.TEXT_SET not in (left.type, right.type):
        path, name = sys.intern(leaf.path), sys.intern(left.name)
        plain: Plain = (path, name, sys.intern(operator), left.get, left.slot, apply, constant)
        return Test(judge, (plain,), left.slots, (left, operator, right))

    def tell(env: Env) -> Step:
        value = left.read(env)
        outcome = None if value is None else apply(value, constant)
        missing = left.missing(env) if value is None else ()
        return Step(leaf.path, left.name, operator, outcome, shown(value), shown(constant), "", missing)

    return Test(judge, (tell,), left.slots, (left, operator, right))


def compile_let(word: str, let: Aggregate | Calculation, scope: Scope) -> Reader | None:
    """Compile a derived value to a reader of that name."""
    if isinstance(let, Calculation):
        return _calculation(word, let, scope)
    return _aggregate(word, let, scope)


def _calculation(word: str, let: Calculation, scope: Scope) -> Reader | None:
    operator = OPERATORS.get(let.operator)
    if operator is None or operator.condition:
        names = ", ".join(sorted(name for name, op in OPERATORS.items() if not op.condition))
        scope.fault(
            let.path,
            f"uses the operator {let.operator}, which gives no value.",
            f"Use one of {names}.",
            "R04",
        )
        return None
    count = len(operator.signatures[0])
    if len(let.of) != count:
        scope.fault(f"{let.path}.of", f"has {len(let.of)} values.", f"{let.operator} takes {count}.", "R03")
        return None
    wanted = tuple(dict.fromkeys(type_ for signature in operator.signatures for type_ in signature))
    readers = [scope.value(value, wanted, f"{let.path}.of[{i}]") for i, value in enumerate(let.of)]
    known = [reader for reader in readers if reader is not None]
    if len(known) < count:
        return None
    types = tuple(reader.type for reader in known)
    if types not in operator.signatures:
        takes = "; ".join(" and ".join(signature) for signature in operator.signatures)
        scope.fault(let.path, f"gives {let.operator} {' and '.join(types)}.", f"It takes {takes}.", "R03")
        return None
    reads = tuple(reader.read for reader in known)
    apply = operator.py

    def read(env: Env) -> Any:
        values = [one(env) for one in reads]
        return None if None in values else apply(*values)

    def read_two(env: Env) -> Any:
        left = first(env)
        if left is None:
            return None
        right = second(env)
        return None if right is None else apply(left, right)

    if len(reads) == 2:
        first, second = reads
        read = read_two

    def missing(env: Env) -> tuple[str, ...]:
        return tuple(
            name for reader in known if reader.read(env) is None for name in reader.missing(env)
        ) or (word,)

    gives = operator.gives or (Type.MONEY if Type.MONEY in types else types[0])
    slots = frozenset[int]().union(*(reader.slots for reader in known))
    return Reader(gives, read, word, slots, missing_names=missing)


def _aggregate(word: str, let: Aggregate, scope: Scope) -> Reader | None:
    if let.collection not in COLLECTIONS:
        scope.fault(let.path, f"ranges over {let.collection}.", f"Use one of {', '.join(COLLECTIONS)}.")
        return None
    if scope.kind_of(let.alias) is not None:
        scope.fault(
            let.path,
            f"calls a {let.collection} {let.alias}, which means something else.",
            "Choose another word.",
        )
        return None
    inner = scope.with_alias(let.alias, let.collection)
    where = compile_node(let.where, inner) if let.where is not None else None
    field = inner.name(let.field.name, f"{let.path}.field") if let.field else None
    by = inner.name(let.by.name, f"{let.path}.by") if let.by else None
    needs_field, needs_by = let.how != "count", let.how in ("latest", "earliest")
    if (let.where is not None and where is None) or (let.field and not field) or (let.by and not by):
        return None
    if needs_field != (field is not None) or needs_by != (by is not None):
        needed = "field and by" if needs_by else "field" if needs_field else "neither field nor by"
        scope.fault(let.path, f"does not fit {let.how}.", f"{let.how} takes {needed}.", "R03")
        return None
    numeric = (Type.NUMBER, Type.MONEY)
    wanted = {
        "sum": numeric,
        "min": (*numeric, Type.DATE, Type.MOMENT),
        "max": (*numeric, Type.DATE, Type.MOMENT),
        "longest_gap": (Type.DATE, Type.MOMENT),
        "shortest_gap": (Type.DATE, Type.MOMENT),
    }.get(let.how)
    if field is not None and wanted and field.type not in wanted:
        scope.fault(
            f"{let.path}.field", f"is {field.name}, a {field.type}.", f"Use a {' or '.join(wanted)}.", "R03"
        )
        return None
    counts = ("count", "distinct", "longest_gap", "shortest_gap")
    gives = Type.NUMBER if let.how in counts or field is None else field.type
    return _aggregate_reader(word, let, gives, where, field, by, inner)


def _aggregate_reader(
    word: str,
    let: Aggregate,
    gives: Type,
    where: Test | None,
    field: Reader | None,
    by: Reader | None,
    scope: Scope,
) -> Reader:
    rows_of = attrgetter(COLLECTIONS[let.collection][0])
    judge = where.judge if where else None
    read_field, read_by = (field.read if field else None), (by.read if by else None)
    summarise = _SUMMARIES[let.how]
    zero = Decimal(0) if gives is Type.MONEY else 0.0

    def read(env: Env) -> Any:
        rows = rows_of(env[FACTS])
        if rows is None:
            return None
        values: list[Any] = []
        outer = env[OTHER]  # a derived value may be read while another ranges over its own rows
        for row in rows:
            env[OTHER] = row
            said = True if judge is None else judge(env)
            if said:
                value = read_field(env) if read_field else 1
                order = read_by(env) if read_by else 0
                if value is not None and order is not None:
                    values.append((order, value) if read_by else value)
                    continue
            elif said is False:
                continue
            env[OTHER] = outer
            return None
        env[OTHER] = outer
        return summarise(values, zero)

    def missing(env: Env) -> tuple[str, ...]:
        rows = rows_of(env[FACTS])
        if rows is None:
            return (let.collection,)
        names: list[str] = []
        outer = env[OTHER]
        for row in rows:
            env[OTHER] = row
            if where and where.judge(env) is None:
                names += [name for step in where.steps(env) for name in step.missing]
            elif not where or where.judge(env):
                names += [
                    name
                    for reader in (field, by)
                    if reader and reader.read(env) is None
                    for name in reader.missing(env)
                ]
        env[OTHER] = outer
        return tuple(dict.fromkeys(names)) or (f"{let.collection} ({word})",)

    used = [part.slots for part in (where, field, by) if part is not None]
    slots = frozenset[int]().union({FACTS}, *used) - {OTHER}
    value = read if where is None else _remembered(read, scope.asked)
    reader = Reader(gives, value, word, slots, missing_names=missing, unit=field.unit if field else None)
    if let.how == "count" and (counted := _counted(let, where)) is not None:
        reader.counted, reader.read = counted, _count_of(counted, read)
    return reader


def _remembered(read: Callable[[Env], Any], asked: list[Reader]) -> Callable[[Env], Any]:
    """Return a reader that sums up once a visit for each set of values that the rows are compared with."""
    if any(reader.type in (Type.MONEY, Type.NUMBER) for reader in asked):
        return read  # equal numbers may still be written differently
    outside = tuple(reader.read for reader in asked)
    self_key = object()

    def quick(env: Env) -> Any:
        memo = env[MEMO]
        if memo is None:  # outside a decision
            return read(env)
        key = (self_key, *[one(env) for one in outside])
        if key not in memo:
            memo[key] = read(env)
        return memo[key]

    return quick


def _counted(let: Aggregate, where: Test | None) -> Counted | None:
    """Return how to count by text, where a count asks for nothing but one text of its items."""
    if where is None or where.leaf is None:
        return None
    left, operator, right = where.leaf
    wanted = {"equal_to": Type.TEXT, "includes": Type.TEXT_SET}.get(operator)
    if left.type is not wanted or left.slot != OTHER or left.get is None or right is None or right.slots:
        return None
    get, is_set = left.get, wanted is Type.TEXT_SET
    attribute = COLLECTIONS[let.collection][0]
    rows_of = attrgetter(attribute)

    def count(env: Env) -> dict[str, float] | None:
        rows = rows_of(env[FACTS])
        if rows is None:
            return None
        counts: dict[str, float] = {}
        for row in rows:
            value = get(row)
            if value is None:
                return None
            for one in value if is_set else (value,):
                counts[one] = counts.get(one, 0.0) + 1.0
        return counts

    return Counted((attribute, left.name.partition(".")[2]), right.read([]), count)


def _count_of(counted: Counted, read: Callable[[Env], Any]) -> Callable[[Env], Any]:
    key, text, count = counted.key, counted.text, counted.count

    def quick(env: Env) -> Any:
        memo = env[MEMO]
        if memo is None:  # outside a decision
            return read(env)
        if key not in memo:
            memo[key] = count(env)
        counts = memo[key]
        return None if counts is None else counts.get(text, 0.0)

    return quick


def _gaps(days: list[Any]) -> list[float]:
    distinct = sorted({instant(day).date() for day in days})
    return [(later - earlier) / dt.timedelta(days=1) for earlier, later in itertools.pairwise(distinct)]


_SUMMARIES: dict[str, Callable[[list[Any], Any], Any]] = {
    "count": lambda values, _: float(len(values)),
    "sum": sum,
    "min": lambda values, _: min(values, default=None),
    "max": lambda values, _: max(values, default=None),
    "distinct": lambda values, _: float(len(set(values))),
    "latest": lambda values, _: max(values, key=lambda pair: pair[0])[1] if values else None,
    "earliest": lambda values, _: min(values, key=lambda pair: pair[0])[1] if values else None,
    "longest_gap": lambda days, _: max(_gaps(days), default=0.0),
    "shortest_gap": lambda days, _: min(_gaps(days), default=float("inf")),
}
