"""Compile one rule against facts, tables and parameters into a check that can judge and tell.

A check splits its conditions in three: the *key* by which an index finds the items it can concern, the *gate*
that does not depend on any item and is judged once a visit, and the rest.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from engine.compile.closure import Judge, Test, all_of, compile_node, told
from engine.compile.let import compile_let
from engine.compile.scope import FIRST, INVARIANT, ROW, SECOND, Counted, Env, Reader, Scope
from engine.decision import LEVELS, Finding, Level, NotChecked, Step, Subject, Suggestion
from engine.drugs import Dictionary
from engine.errors import RuleError
from engine.facts import COLLECTIONS, SINGLES
from engine.knowledge import Table, shown
from engine.messages import Say, compile_words
from engine.parameters import Parameter
from engine.rule import AllOf, ColumnName, Name, Rule
from engine.vocabulary import Type

__all__ = ["Bound", "Check", "Key", "compile_check", "matches"]

_LOWER = ("greater_than", "greater_than_or_equal_to")
_UPPER = ("less_than", "less_than_or_equal_to")
_MOST_BINDINGS = 2
_SLOTS = (FIRST, SECOND)
_ROW_ALONE = frozenset({ROW})
_RANGES = tuple(kind for kind in COLLECTIONS if not kind.startswith("past_"))
"""What a rule can range over; history is never in focus, so it is reached by ``let`` alone."""


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


class Check:
    """One compiled rule."""

    __slots__ = (
        "advice",
        "amount",
        "attributes",
        "bound",
        "common",
        "gate",
        "gates",
        "judges",
        "key",
        "keys",
        "kinds",
        "level",
        "message",
        "moving",
        "needs",
        "number",
        "partner",
        "rank",
        "rest",
        "rule",
        "second",
        "shadow",
        "slots",
        "static",
        "suggestions",
        "symmetric",
        "table",
        "tellings",
        "test",
        "to_be_verified",
        "words",
    )

    def __init__(self, rule: Rule, table: Table | None, scope: Scope, test: Test, drugs: Dictionary) -> None:
        self.rule, self.table, self.test = rule, table, test
        self.tellings = test.tellings
        self.number = 0  # its place in the snapshot
        self.shadow = rule.status == "shadow"
        self.words = tuple(word for word, _ in rule.for_each)
        self.kinds = tuple(kind for _, kind in rule.for_each)
        self.slots = _SLOTS[: len(self.words)]
        self.attributes = tuple(COLLECTIONS[kind][0] for kind in self.kinds)
        self.symmetric = len(set(self.kinds)) < len(self.kinds)  # two items of one collection
        self.key: Key | None = None
        self.partner: Key | None = None
        self.keys: tuple[Key, ...] = ()
        self.gate: Judge | None = None
        self.needs: Counted | None = None
        self.bound: Bound | None = None
        self.common: tuple[str, bool] | None = None  # the fact that two items must share, and if it is a set
        self.gates: tuple[Judge, ...] = ()  # the same, one by one
        self.rest: Judge = test.judge
        self.judges: tuple[Judge, ...] = (test.judge,)  # the same, one by one
        self.second: Key | None = None  # a further key on the same item, which an index looks up too
        self.static: tuple[Judge, ...] = ()  # conditions on the row alone, known before any visit
        self.moving: tuple[Judge, ...] = ()  # the others, without the second key
        then = rule.then
        self.level: Callable[[Env], Level] = _level(then.level, scope)
        self.rank = LEVELS.index(then.level) if isinstance(then.level, Level) else None
        self.message: Say = compile_words(then.message, scope, "then.message", drugs)
        self.advice: Say | None = (
            compile_words(then.advice, scope, "then.advice", drugs) if then.advice else None
        )
        self.amount: Callable[[Env], Any] | None = _amount(then.amount, scope)
        self.suggestions = tuple(
            (
                compile_words(one.label, scope, "then.suggestions", drugs),
                _removed(one.remove, self.words, scope),
            )
            for one in then.suggestions
        )
        self.to_be_verified = any(reference.read_on is None for reference in rule.references)

    def subjects(self, env: Env) -> tuple[Subject, ...]:
        """Name the items that an environment binds, the offending one first."""
        if len(self.slots) == 1:  # by far the most
            item = env[FIRST]
            if item is None:
                return ()
            return (Subject(self.words[0], self.kinds[0], item.id, _name_of(item)),)
        return tuple(
            [
                Subject(word, kind, item.id, _name_of(item))
                for word, kind, slot in zip(self.words, self.kinds, self.slots, strict=True)
                if (item := env[slot]) is not None
            ]
        )

    def ids(self, ids: list[str]) -> tuple[str, ...]:
        """Return what tells the subjects of this check apart: two of one collection stand in no order."""
        return tuple(sorted(ids) if self.symmetric else ids)

    @staticmethod
    def comes_before(env: Env, held: Env) -> bool:
        """Say which of two equally bad rows of the same subjects is told, so that it is always the same."""
        if env[FIRST] is not held[FIRST] or env[SECOND] is not held[SECOND] or env[ROW] is held[ROW]:
            return False
        cells = zip(env[ROW], held[ROW], strict=True)
        mine, other = next(((mine, other) for mine, other in cells if mine != other), (None, None))
        return str(shown(mine)) < str(shown(other))

    def finding(self, env: Env, level: Level) -> Finding:
        """Say what was found, with its trace."""
        rule, row, then = self.rule, env[ROW], self.rule.then
        cited = None if row is None or self.table is None else self.table.cite(row)
        # In the order of the fields: with names it takes four times as long.
        return Finding(
            rule.id,
            rule.version,
            rule.ruleset,
            rule.title,
            level,
            self.message(env),
            self.subjects(env),
            then.certainty,
            rule.official_code,
            self.amount(env) if self.amount else None,
            then.behaviour,
            tuple(told(self.tellings, env)),
            () if cited is None else (cited,),
            rule.references,
            tuple([place(label(env), env) for label, place in self.suggestions]) if self.suggestions else (),
            rule.known_limits,
            self.advice(env) if self.advice else None,
            self.to_be_verified or (cited is not None and cited.evidence == "recalled"),
        )

    def not_checked(
        self, subjects: tuple[Subject, ...], missing: tuple[str, ...], fault: str = ""
    ) -> NotChecked:
        """Say that it could not run on these subjects, and why."""
        return NotChecked(self.rule.id, self.rule.title, missing, subjects, fault)

    def missing(self, env: Env) -> tuple[str, ...]:
        """Name the facts whose absence left the outcome unknown."""
        names = [name for step in self.test.steps(env) if step.outcome is None for name in step.missing]
        row = env[ROW]
        if row is None and self.table is not None:
            names = [name for name in names if name.partition(".")[0] != self.row_word]
        names += [
            key.reader.name
            for key in self.keys
            if key.reader.read(env) is None
            and (row is None or (key.column is not None and row[key.column] is not None))
        ]
        return tuple(dict.fromkeys(names))

    @property
    def row_word(self) -> str:
        """Return the word by which the rule names its row."""
        return self.rule.join.word if self.rule.join else ""


def _name_of(item: Any) -> str:
    return getattr(item, "name", None) or ""


def compile_check(
    rule: Rule, tables: Mapping[str, Table], parameters: Mapping[str, Parameter], drugs: Dictionary
) -> tuple[Check | None, list[RuleError]]:
    """Compile a rule; returns the check, or ``None`` when it cannot run, and every fault found."""
    join, table = rule.join, None
    scope = Scope(rule.place, (), parameters)
    if len(rule.for_each) > _MOST_BINDINGS:
        scope.fault("for_each", "binds more than two things.", "Bind one or two; use let for the rest.")
    for word, kind in rule.for_each:
        if kind not in _RANGES:
            scope.fault(f"for_each.{word}", f"is {kind}.", f"Use one of {', '.join(_RANGES)}.")
    if join is not None and (table := tables.get(join.table)) is None:
        scope.fault(
            "match", f"joins the table {join.table}, which is not loaded.", "Add it under rules/knowledge."
        )
    if join is not None and join.word in (*SINGLES, *(word for word, _ in rule.for_each)):
        scope.fault("match", f"calls a row {join.word}, which means something else.", "Choose another word.")
    if scope.errors:
        return None, scope.errors
    scope = Scope(rule.place, rule.for_each, parameters, (join.word, table) if join and table else None)
    if table is not None and join is not None:
        scope.mark_row_drugs(_drug_columns(rule, table))
    for word, let in rule.let:
        reader = compile_let(word, let, scope)
        if reader is not None:
            scope.lets[word] = reader
    whole = compile_node(rule.when, scope)
    keys = _join_keys(rule, table, scope) if table is not None else []
    residual = [matches(key) for key in keys[1:] if key is not None]
    validity = _row_validity(table)
    if whole is None or None in keys:
        compile_words(rule.then.message, scope, "then.message", drugs)
        return None, scope.errors
    children = _conjuncts(rule, whole)
    check = Check(rule, table, scope, whole, drugs)
    if scope.errors:
        return None, scope.errors
    check.keys = tuple(key for key in keys if key is not None)
    _split(check, children, residual, validity)
    return check, []


def _conjuncts(rule: Rule, whole: Test) -> list[Test]:
    """Return the conditions that must all hold, so that each can be judged where it is cheapest."""
    return list(whole.parts) if isinstance(rule.when, AllOf) and whole.parts else [whole]


def _split(check: Check, children: list[Test], residual: list[Test], validity: list[Test]) -> None:
    gates = [test for test in children if test.slots <= INVARIANT]
    rest = [test for test in children if not test.slots <= INVARIANT]
    if check.keys:
        first, *others = check.keys
        second = others[0] if others else None
        if first.slot in _SLOTS:
            check.key = first
        if check.key is not None and second is not None and _are_partners(check, first, second):
            by_slot = sorted((first, second), key=lambda key: key.slot)
            check.key, check.partner = by_slot
            check.keys = (*by_slot, *others[1:])
            residual = residual[1:]
    elif len(check.words) >= 1:
        check.key = _constant_key(rest)
        rest = [test for test in rest if check.key is None or test is not check.key.test]
    check.gate = all_of(gates).judge if gates else None
    check.gates = tuple(test.judge for test in gates)
    check.needs = next((needed for test in gates if (needed := _needed(test)) is not None), None)
    check.bound = next((bound for test in rest if (bound := _bound(test)) is not None), None)
    remaining = [*residual, *validity, *rest]
    check.rest = all_of(remaining).judge if remaining else _true
    check.judges = tuple(test.judge for test in remaining)
    if check.symmetric and not check.keys:
        check.common = next((common for test in rest if (common := _common(test)) is not None), None)
    static = [test for test in rest if test.slots == _ROW_ALONE]
    if check.key is not None and len(check.keys) > 1 and _is_second(check, check.keys[1]):
        check.second = check.keys[1]
        remaining = remaining[1:]
    check.static = tuple(test.judge for test in static)
    check.moving = tuple(test.judge for test in remaining if test not in static)


def _are_partners(check: Check, first: Key, second: Key) -> bool:
    """Say whether two keys, one on each item, find the rows by themselves: no cell matches anything."""
    table = check.table
    if table is None or second.slot not in _SLOTS or second.slot == first.slot:
        return False
    columns = [key.column for key in (first, second) if key.column is not None]
    return all(row[column] is not None for column in columns for row in table.rows)


def _is_second(check: Check, key: Key) -> bool:
    """Say whether an index can look up this key beside the first: a plain text of the same item and cell."""
    if check.table is None or len(check.words) != 1 or check.partner is not None or key.column is None:
        return False
    column = check.table.header.columns[check.table.names[key.column]]
    return key.slot == FIRST and not key.is_set and column.type == "text"


def _true(_: Env) -> bool:
    return True


def _needed(test: Test) -> Counted | None:
    """Return what a gate asks the visit to have at all: *more than none with this text*."""
    if test.leaf is None or test.leaf[2] is None or test.leaf[2].slots:
        return None
    reader, operator, right = test.leaf
    return reader.counted if operator == "greater_than" and right and right.read([]) == 0 else None


def _bound(test: Test) -> Bound | None:
    """Return the bound that a condition sets to a number of the first item."""
    if test.leaf is None or test.leaf[2] is None or test.leaf[2].slots:
        return None
    reader, operator, right = test.leaf
    if reader.type is not Type.NUMBER or reader.slot != FIRST or reader.get is None or right is None:
        return None
    if operator not in (*_LOWER, *_UPPER):
        return None
    return Bound(reader.name.partition(".")[2], right.read([]), lower=operator in _LOWER)


def _common(test: Test) -> tuple[str, bool] | None:
    """Return the fact of which a condition asks two items to have a value in common."""
    if test.leaf is None or test.leaf[2] is None:
        return None
    left, operator, right = test.leaf
    if right is None or left.get is None or right.get is None or left.type is not right.type:
        return None
    if left.name.partition(".")[2] != right.name.partition(".")[2] or {left.slot, right.slot} != set(_SLOTS):
        return None
    wanted = {"equal_to": Type.TEXT, "shares_at_least_one_element_with": Type.TEXT_SET}.get(operator)
    return (left.name.partition(".")[2], left.type is Type.TEXT_SET) if left.type is wanted else None


def _constant_key(tests: list[Test]) -> Key | None:
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


def _join_keys(rule: Rule, table: Table, scope: Scope) -> list[Key | None]:
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
        slot = next((slot for slot in _SLOTS if reader.slots == {slot}), 0)
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


def _row_validity(table: Table | None) -> list[Test]:
    if table is None or (table.valid_from is None and table.valid_to is None):
        return []

    def judge(env: Env) -> bool | None:
        return None if env[ROW] is None else table.in_force(env[ROW], env[0].date())

    return [Test(judge, (), frozenset({ROW}))]


def _drug_columns(rule: Rule, table: Table) -> frozenset[str]:
    """Return the columns that are joined to resolved ingredients or classes."""
    if rule.join is None:
        return frozenset()
    joined = {
        column
        for column, name in rule.join.on
        if name.name.partition(".")[2] in ("ingredient", "ingredients", "agents")
    }
    return frozenset(joined & set(table.names))


def _level(level: Level | ColumnName, scope: Scope) -> Callable[[Env], Level]:
    if not isinstance(level, ColumnName):
        fixed = Level(level)
        return lambda _: fixed
    reader = scope.value(Name(level.name), (Type.TEXT,), "then.level")
    if reader is None:
        return lambda _: Level.WARN
    read, levels = reader.read, {str(one): one for one in LEVELS}
    return lambda env: levels[read(env)]


def _amount(name: str, scope: Scope) -> Callable[[Env], Any] | None:
    if not name:
        return None
    reader = scope.value(Name(name), (Type.MONEY,), "then.amount")
    return reader.read if reader else None


def _removed(word: str, words: tuple[str, ...], scope: Scope) -> Callable[..., Any]:
    if word and word not in words:
        scope.fault("then.suggestions", f"removes {word}.", f"Remove one of {', '.join(words)}.")
    slot = _SLOTS[words.index(word)] if word in words else None
    return lambda label, env: Suggestion(label, env[slot].id if slot is not None else "")
