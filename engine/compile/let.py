"""Compile derived values: calculations, and counts, sums and gaps over related rows.

What a visit has is counted and summed up once for the same question, however many items ask it.
"""

from __future__ import annotations

import datetime as dt
import itertools
from collections.abc import Callable
from decimal import Decimal
from operator import attrgetter
from typing import Any

from engine.compile.closure import Test, compile_node
from engine.compile.direct import calculate
from engine.compile.scope import FACTS, MEMO, OTHER, Counted, Env, Reader, Scope
from engine.facts import COLLECTIONS
from engine.operators import OPERATORS
from engine.operators._operator import instant
from engine.rule import Aggregate, Calculation
from engine.vocabulary import Type

__all__ = ["compile_let"]

_FEW_ROWS = 2  # summed up again sooner than remembered


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
    apply = calculate(let.operator, types, operator.py)

    def read(env: Env) -> Any:
        values = [one(env) for one in reads]
        return None if None in values else apply(*values)

    def read_two(env: Env) -> Any:
        left = first(env)
        if left is None:
            return None
        right = second(env)
        return None if right is None else apply(left, right)

    def read_one(env: Env) -> Any:
        value = only(env)
        return None if value is None else apply(value)

    if len(reads) == 2:
        first, second = reads
        read = read_two
    elif len(reads) == 1:
        (only,) = reads
        read = read_one

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
    some_of = _candidates(COLLECTIONS[let.collection][0], where)
    judge = where.judge if where else None
    read_field, read_by = (field.read if field else None), (by.read if by else None)
    summarise = _SUMMARIES[let.how]
    zero = Decimal(0) if gives is Type.MONEY else 0.0

    def pick(env: Env) -> Any:
        rows = rows_of(env[FACTS])
        return rows if some_of is None or rows is None else some_of(env, rows)

    def over(env: Env, rows: Any) -> Any:
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

    def read(env: Env) -> Any:
        return over(env, pick(env))

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
    value = read if where is None else _remembered(pick, over, scope.asked)
    reader = Reader(gives, value, word, slots, missing_names=missing, unit=field.unit if field else None)
    if let.how == "count" and (counted := _counted(let, where)) is not None:
        reader.counted, reader.read = counted, _count_of(counted, read)
    return reader


def _candidates(attribute: str, where: Test | None) -> Callable[[Env, Any], Any] | None:
    """Return how to leave out rows that an equality of texts rules out: they are told apart once a visit."""
    parts = () if where is None else where.parts or (where,)
    leaves = [part.leaf for part in parts if part.leaf is not None]
    for left, operator, right in leaves:
        if operator != "equal_to" or left.type is not Type.TEXT or left.get is None or right is None:
            continue
        if left.slot == OTHER and OTHER not in right.slots and right.slots:
            return _told_apart(attribute, left.get, right.read)
    return None


def _told_apart(
    attribute: str, get: Callable[[Any], Any], read: Callable[[Env], Any]
) -> Callable[[Env, Any], Any]:
    key = (attribute, get)

    def some_of(env: Env, rows: Any) -> Any:
        memo, wanted = env[MEMO], read(env)
        if memo is None or wanted is None:
            return rows
        if key not in memo:
            groups: dict[str | None, list[Any]] = {}
            for row in rows:
                groups.setdefault(get(row), []).append(row)
            memo[key] = groups
        groups = memo[key]
        return rows if None in groups else groups.get(wanted, ())

    return some_of


def _remembered(
    pick: Callable[[Env], Any], over: Callable[[Env, Any], Any], asked: list[Reader]
) -> Callable[[Env], Any]:
    """Return a reader that sums up once a visit for each set of values that the rows are compared with."""
    if any(reader.type in (Type.MONEY, Type.NUMBER) for reader in asked):
        return lambda env: over(env, pick(env))  # equal numbers may still be written differently
    outside = tuple(reader.read for reader in asked)
    self_key = object()

    def quick(env: Env) -> Any:
        memo, rows = env[MEMO], pick(env)
        if memo is None or rows is None or len(rows) <= _FEW_ROWS:
            return over(env, rows)
        key = (self_key, *[one(env) for one in outside])
        if key not in memo:
            memo[key] = over(env, rows)
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
