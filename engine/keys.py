"""Find what a check can be found by: a key, a bound, a fact in common, what the visit must have at all."""

from __future__ import annotations

from typing import NamedTuple

from engine.compile.closure import Test
from engine.compile.scope import FIRST, ROW, SECOND, Counted, Env, Reader, Scope
from engine.decision import Step
from engine.knowledge import Table, shown
from engine.rule import Rule
from engine.vocabulary import Type

__all__ = [
    "SLOTS",
    "Bound",
    "Common",
    "Key",
    "are_partners",
    "bound_of",
    "common_to",
    "constant_key",
    "drug_columns",
    "is_second",
    "join_keys",
    "matches",
    "needed_by",
    "row_validity",
]

SLOTS = (FIRST, SECOND)
"""The places of the items that a rule binds."""

Common = tuple[tuple[str, bool], tuple[str, bool]]
"""A fact of the first item and one of the second, and whether each is a set."""

_LOWER = ("greater_than", "greater_than_or_equal_to")
_UPPER = ("less_than", "less_than_or_equal_to")


class Key:
    """The equality by which a check is found: a fact of one binding against constants or a table column."""

    __slots__ = ("column", "constants", "field", "is_set", "reader", "slot", "test")

    def __init__(
        self,
        reader: Reader,
        slot: int,
        *,
        constants: frozenset[str] = frozenset(),
        column: int | None = None,
        test: Test | None = None,
    ) -> None:
        self.reader, self.slot, self.constants, self.column, self.test = reader, slot, constants, column, test
        self.field = reader.name.partition(".")[2]
        self.is_set = reader.type is Type.TEXT_SET


class Bound(NamedTuple):
    """A number that a fact of the first item must at least (``lower``) or at most have."""

    field: str
    number: float
    lower: bool


def constant_key(tests: list[Test]) -> Key | None:
    """Choose the equality with the fewest constants as the key by which an index finds the check."""
    found: list[Key] = []
    for test in tests:
        if test.leaf is None or test.leaf[2] is None or test.leaf[2].slots or test.leaf[0].slots != {FIRST}:
            continue
        reader, operator, right = test.leaf
        constant = right.read([]) if right else None
        if operator in ("equal_to", "includes") and isinstance(constant, str):
            found.append(Key(reader, FIRST, constants=frozenset({constant}), test=test))
        elif operator in ("is_one_of", "shares_at_least_one_element_with") and isinstance(
            constant, frozenset
        ):
            found.append(Key(reader, FIRST, constants=constant, test=test))
    # A fact called code or agents tells items apart better than a coarse one such as kind.
    return min(
        found, key=lambda key: (len(key.constants), len(key.reader.options), key.reader.name), default=None
    )


def join_keys(rule: Rule, table: Table, scope: Scope) -> list[Key | None]:
    keys: list[Key | None] = []
    for column, name in rule.join.on if rule.join else ():
        path = f"match.{rule.join.word if rule.join else ''}.on.{column}"
        reader = scope.name(name.name, path)
        if column not in table.position:
            scope.fault(path, f"is no column of {table.header.id}.", f"Use one of {', '.join(table.names)}.")
            reader = None
        elif reader is not None and reader.type not in (Type.TEXT, Type.TEXT_SET):
            scope.fault(
                path, f"is {reader.name}, a {reader.type}.", "Join by a text or a set of texts.", "R03"
            )
            reader = None
        elif reader is not None and ROW in reader.slots:
            scope.fault(path, f"is {reader.name}, of the row itself.", "Join by a fact.", "R03")
            reader = None
        elif table.header.columns[column].type not in ("text", "text_set"):
            scope.fault(path, f"joins a {table.header.columns[column].type}.", "Join text columns.", "R03")
            reader = None
        if reader is None:
            keys.append(None)
            continue
        slot = next((slot for slot in SLOTS if reader.slots == {slot}), 0)
        keys.append(Key(reader, slot, column=table.position[column]))
    return keys


def matches(key: Key, *, empty: bool = True) -> Test:
    """Compare a join column with its fact; ``empty`` is what an empty cell says (the first never matches)."""
    read, index, is_set = key.reader.read, key.column, key.is_set

    def judge(env: Env) -> bool | None:
        row = env[ROW]
        if row is None:
            return None
        cell = row[index]
        if cell is None:
            return empty
        value = read(env)
        if value is None:
            return None
        if isinstance(cell, frozenset):
            return not cell.isdisjoint(value) if is_set else value in cell
        return bool(cell in value) if is_set else bool(cell == value)

    def tell(env: Env) -> Step:
        outcome = judge(env)
        missing = (key.reader.name,) if outcome is None else ()
        cell = None if env[ROW] is None else shown(env[ROW][index])
        value = shown(read(env))
        return Step("match", key.reader.name, "equal_to", outcome, value, cell, "table", missing)

    return Test(judge, (tell,), key.reader.slots | {ROW})


def row_validity(table: Table | None) -> list[Test]:
    if table is None or (table.valid_from is None and table.valid_to is None):
        return []

    def judge(env: Env) -> bool | None:
        return None if env[ROW] is None else table.in_force(env[ROW], env[0].date())

    return [Test(judge, (), frozenset({ROW}))]


def are_partners(table: Table | None, first: Key, second: Key) -> bool:
    """Say whether two keys, one on each item, find the rows by themselves: no cell matches anything."""
    if table is None or second.slot not in SLOTS or second.slot == first.slot:
        return False
    columns = [key.column for key in (first, second) if key.column is not None]
    return all(row[column] is not None for column in columns for row in table.rows)


def is_second(table: Table, key: Key) -> bool:
    """Say whether an index can look up this key beside the first: a plain text of the same item and cell."""
    if key.column is None:
        return False
    column = table.header.columns[table.names[key.column]]
    return key.slot == FIRST and not key.is_set and column.type == "text"


def needed_by(test: Test) -> Counted | None:
    """Return what a gate asks the visit to have at all: *more than none with this text*."""
    if test.leaf is None or test.leaf[2] is None or test.leaf[2].slots:
        return None
    reader, operator, right = test.leaf
    return reader.counted if operator == "greater_than" and right and right.read([]) == 0 else None


def bound_of(test: Test) -> Bound | None:
    """Return the bound that a condition sets to a number of the first item."""
    if test.leaf is None or test.leaf[2] is None or test.leaf[2].slots:
        return None
    reader, operator, right = test.leaf
    if reader.type is not Type.NUMBER or reader.slot != FIRST or reader.get is None or right is None:
        return None
    if operator not in (*_LOWER, *_UPPER):
        return None
    return Bound(reader.name.partition(".")[2], right.read([]), lower=operator in _LOWER)


def common_to(test: Test) -> Common | None:
    """Return the facts, first and second, of which a condition asks two items to have a value in common."""
    if test.leaf is None or test.leaf[2] is None:
        return None
    left, operator, right = test.leaf
    if left.get is None or right is None or right.get is None or left.type is not right.type:
        return None
    wanted = {"equal_to": Type.TEXT, "shares_at_least_one_element_with": Type.TEXT_SET}.get(operator)
    if left.type is not wanted or {left.slot, right.slot} != set(SLOTS):
        return None
    is_set = wanted is Type.TEXT_SET
    first, second = sorted((left, right), key=lambda reader: reader.slot)
    return (first.name.partition(".")[2], is_set), (second.name.partition(".")[2], is_set)


def drug_columns(rule: Rule, table: Table) -> frozenset[str]:
    """Return the columns that are joined to resolved ingredients or classes."""
    if rule.join is None:
        return frozenset()
    joined = {
        column
        for column, name in rule.join.on
        if name.name.partition(".")[2] in ("ingredient", "ingredients", "agents")
    }
    return frozenset(joined & set(table.names))
