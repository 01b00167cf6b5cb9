"""Compile one rule against facts, tables and parameters into a check that can judge and tell.

A check splits its conditions in three: the *key* by which an index finds the items it can concern, the *gate*
that does not depend on any item and is judged once a visit, and the rest.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from engine.compile.closure import Judge, Test, all_of, cheapest_first, compile_node
from engine.compile.let import compile_let
from engine.compile.scope import FIRST, INVARIANT, ROW, SECOND, Counted, Env, Scope
from engine.compile.telling import together, told
from engine.decision import LEVELS, Finding, Level, NotChecked, Subject, Suggestion
from engine.derive import DERIVED
from engine.drugs import Dictionary
from engine.errors import RuleError
from engine.facts import COLLECTIONS, SINGLES
from engine.keys import (
    SLOTS,
    Bound,
    Common,
    Key,
    are_partners,
    bound_of,
    common_to,
    constant_key,
    drug_columns,
    is_second,
    join_keys,
    matches,
    needed_by,
    row_validity,
)
from engine.knowledge import Table, shown
from engine.messages import Say, compile_words
from engine.parameters import Parameter
from engine.rule import AllOf, ColumnName, Name, Rule
from engine.vocabulary import Type

__all__ = ["Check", "compile_check"]

_MOST_BINDINGS = 2
_ROW_ALONE = frozenset({ROW})
_RANGES = tuple(kind for kind in COLLECTIONS if not kind.startswith("past_"))
"""What a rule can range over; history is never in focus, so it is reached by ``let`` alone."""


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
        "wanted",
        "words",
    )

    def __init__(self, rule: Rule, table: Table | None, scope: Scope, test: Test, drugs: Dictionary) -> None:
        self.rule, self.table, self.test = rule, table, test
        self.tellings = together(test.tellings)
        self.wanted: frozenset[str] = DERIVED  # the derived facts of items that it reads
        self.number = 0  # its place in the snapshot
        self.shadow = rule.status == "shadow"
        self.words = tuple(word for word, _ in rule.for_each)
        self.kinds = tuple(kind for _, kind in rule.for_each)
        self.slots = SLOTS[: len(self.words)]
        self.attributes = tuple(COLLECTIONS[kind][0] for kind in self.kinds)
        self.symmetric = len(set(self.kinds)) < len(self.kinds)  # two items of one collection
        self.key: Key | None = None
        self.partner: Key | None = None
        self.keys: tuple[Key, ...] = ()
        self.gate: Judge | None = None
        self.needs: Counted | None = None
        self.bound: Bound | None = None
        self.common: Common | None = None  # the facts of two items that must have a value in common
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
        scope.mark_row_drugs(drug_columns(rule, table))
    for word, let in rule.let:
        reader = compile_let(word, let, scope)
        if reader is not None:
            scope.lets[word] = reader
    whole = compile_node(rule.when, scope)
    keys = join_keys(rule, table, scope) if table is not None else []
    residual = [matches(key) for key in keys[1:] if key is not None]
    validity = row_validity(table)
    if whole is None or None in keys:
        compile_words(rule.then.message, scope, "then.message", drugs)
        return None, scope.errors
    children = _conjuncts(rule, whole)
    check = Check(rule, table, scope, whole, drugs)
    if scope.errors:
        return None, scope.errors
    check.keys = tuple(key for key in keys if key is not None)
    check.wanted = frozenset(scope.words) & DERIVED
    _split(check, children, residual, validity)
    return check, []


def _conjuncts(rule: Rule, whole: Test) -> list[Test]:
    """Return the conditions that must all hold, so that each can be judged where it is cheapest."""
    return list(whole.parts) if isinstance(rule.when, AllOf) and whole.parts else [whole]


def _split(check: Check, children: list[Test], residual: list[Test], validity: list[Test]) -> None:
    table = check.table
    gates = [test for test in children if test.slots <= INVARIANT]
    rest = [test for test in children if not test.slots <= INVARIANT]
    if check.keys:
        first, *others = check.keys
        second = others[0] if others else None
        if first.slot in SLOTS:
            check.key = first
        if check.key is not None and second is not None and are_partners(table, first, second):
            by_slot = sorted((first, second), key=lambda key: key.slot)
            check.key, check.partner = by_slot
            check.keys = (*by_slot, *others[1:])
            residual = residual[1:]
    elif len(check.words) >= 1:
        check.key = constant_key(rest)
        rest = [test for test in rest if check.key is None or test is not check.key.test]
    check.gate = all_of(gates).judge if gates else None
    check.gates = tuple(test.judge for test in cheapest_first(gates))
    check.needs = next((needed for test in gates if (needed := needed_by(test)) is not None), None)
    check.bound = next((bound for test in rest if (bound := bound_of(test)) is not None), None)
    remaining = [*residual, *validity, *cheapest_first(rest)]
    check.rest = all_of(remaining).judge if remaining else _true
    check.judges = tuple(test.judge for test in remaining)
    if check.key is None and not check.keys and len(check.words) > 1:
        check.common = next((common for test in rest if (common := common_to(test)) is not None), None)
    static = [test for test in rest if test.slots == _ROW_ALONE]
    alone = len(check.words) == 1 and check.key is not None and len(check.keys) > 1 and not check.partner
    if alone and table is not None and is_second(table, check.keys[1]):
        check.second = check.keys[1]
        remaining = remaining[1:]
    check.static = tuple(test.judge for test in static)
    check.moving = tuple(test.judge for test in remaining if test not in static)


def _true(_: Env) -> bool:
    return True


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
    slot = SLOTS[words.index(word)] if word in words else None
    return lambda label, env: Suggestion(label, env[slot].id if slot is not None else "")
