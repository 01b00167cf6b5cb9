"""Tell why a rule fires, stays silent or is not checked, item by item and row by row.

Nothing here uses an index: every binding meets every row. It is therefore also the plain loop that the hot
path of :mod:`engine.evaluate` is tested against.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import Any, Literal

import msgspec

from engine.check import Check, compile_check
from engine.compile.scope import AT, ENVIRONMENT, FACTS, FIRST, PATIENT, ROW, SECOND, VISIT, Env
from engine.decision import Level, RowCited, Step, Subject, Words
from engine.derive import complete
from engine.facts import Facts
from engine.keys import matches
from engine.knowledge import Row, shown
from engine.operators import OPERATORS
from engine.rule import AnyOf, Leaf, Node, Not
from engine.snapshot import Snapshot

__all__ = ["Explanation", "Judgement", "LookUp", "deciding", "explain", "judge_all"]

_MOST_EXPLANATIONS = 200
_MOST_JUDGEMENTS = 20_000

Outcome = Literal["fires", "silent", "not_checked"]
Rows = Callable[[Env], Iterable[Row]]


class LookUp(msgspec.Struct, frozen=True):
    """What was looked for in a knowledge table: key column -> value, and how many rows answered."""

    table: str
    on: dict[str, Any]
    rows: int


class Judgement(msgspec.Struct, frozen=True):
    """What a check says about one binding and, with a table, one row: ``None`` is unknown.

    ``without`` says what the binding lacks when there was no condition to judge: ``rows``, ``key``,
    ``collection`` or ``items``. ``fault`` names what broke.
    """

    env: Env
    said: bool | None
    without: Literal["", "rows", "key", "collection", "items"] = ""
    missing: tuple[str, ...] = ()
    fault: str = ""


class Explanation(msgspec.Struct, frozen=True, omit_defaults=True):
    """Why a rule came to its outcome on these subjects: each condition, and those that decided."""

    outcome: Outcome
    why: Words
    subjects: tuple[Subject, ...] = ()
    steps: tuple[Step, ...] = ()
    deciding: tuple[str, ...] = ()  # paths of the conditions that made the outcome what it is
    row: RowCited | None = None
    looked_up: LookUp | None = None
    missing: tuple[str, ...] = ()
    level: Level | None = None
    fault: str = ""


def judge_all(check: Check, facts: Facts, at: dt.datetime, rows: Rows | None = None) -> Iterator[Judgement]:
    """Judge every binding of a check with every row of its table, one by one.

    ``rows`` may give only the rows that an environment can match on the first key; every row when left out.
    """
    known = complete(facts, at)
    env: Env = [None] * ENVIRONMENT
    env[AT], env[FACTS], env[PATIENT], env[VISIT] = at.replace(tzinfo=None), known, known.patient, known.visit
    collections = [getattr(known, attribute) for attribute in check.attributes]
    if () in collections:
        yield Judgement(env, False, "items")
        return
    if None in collections:
        kinds = [kind for kind, items in zip(check.kinds, collections, strict=True) if items is None]
        yield _guarded(env, partial(_without_items, check, env, tuple(dict.fromkeys(kinds))))
        return
    met = False
    for first, second in _bindings(check, collections):
        met = True
        env[FIRST], env[SECOND] = first, second
        for judgement in _judge_rows(check, env, rows):
            yield msgspec.structs.replace(judgement, env=list(env))
    if not met:
        env[FIRST] = env[SECOND] = None
        yield Judgement(env, False, "items")


def _bindings(check: Check, collections: list[Any]) -> Iterator[tuple[Any, Any]]:
    if not collections:
        yield None, None
    elif len(collections) == 1:
        yield from ((item, None) for item in collections[0] if item.in_focus)
    else:
        for first in collections[0]:
            for second in collections[1]:
                if (first.in_focus or second.in_focus) and not (check.symmetric and first is second):
                    yield first, second


def _without_items(check: Check, env: Env, kinds: tuple[str, ...]) -> Judgement:
    """Judge a rule whose items were not supplied: silent only if no item could make it fire."""
    if check.gate is not None and check.gate(env) is False:
        return Judgement(env, False, "collection")
    return Judgement(env, None, "collection", kinds)


def _guarded(env: Env, judge: Callable[[], Judgement]) -> Judgement:
    try:
        return judge()
    except Exception as error:
        return Judgement(env, None, fault=f"the check broke ({type(error).__name__})")


def _judge_rows(check: Check, env: Env, rows: Rows | None) -> Iterator[Judgement]:
    env[ROW] = None
    table = check.table
    if table is None:
        yield _guarded(env, partial(_judged, check, env, unknown=False))
        return
    key, *others = check.keys
    keyless = _guarded(env, partial(_without_key, check, env, key.reader.read))
    if keyless.said is not True:
        yield keyless
        return
    first = matches(key, empty=False).judge
    rest = [matches(other).judge for other in others]
    found = False
    for row in rows(env) if rows else table.rows:
        env[ROW] = row
        said = [judge(env) for judge in rest]
        if not first(env) or False in said or not table.in_force(row, env[AT].date()):
            continue
        found = True
        yield _guarded(env, partial(_judged, check, env, unknown=None in said))
    if not found:
        env[ROW] = None
        yield Judgement(env, False, "rows")


def _without_key(check: Check, env: Env, read: Callable[[Env], Any]) -> Judgement:
    """Judge a binding whose key is unknown: silent only if no row could fire. ``True``: the key is known."""
    if read(env) is not None:
        return Judgement(env, True)
    if check.test.judge(env) is False:
        return Judgement(env, False)
    return Judgement(env, None, "key", check.missing(env))


def _judged(check: Check, env: Env, *, unknown: bool) -> Judgement:
    said = check.test.judge(env)
    if unknown and said:
        said = None
    return Judgement(env, said, "", check.missing(env) if said is None else ())


def deciding(node: Node, outcomes: dict[str, bool | None]) -> tuple[bool | None, tuple[str, ...]]:
    """Return the outcome of a condition and the paths of the leaves that made it so.

    ``outcomes`` gives each leaf's own outcome by its path. Of several leaves that each suffice (a false one
    in ``all``, a true one in ``any``) the first is named.
    """
    if isinstance(node, Leaf):
        return outcomes[node.path], (node.path,)
    if isinstance(node, Not):
        said, paths = deciding(node.node, outcomes)
        return (None if said is None else not said), paths
    decided = [deciding(child, outcomes) for child in node.nodes]
    sufficient = isinstance(node, AnyOf)
    for said, paths in decided:
        if said is sufficient:
            return said, paths
    open_ones = [paths for said, paths in decided if said is None]
    if open_ones:
        return None, tuple(path for paths in open_ones for path in paths)
    return not sufficient, tuple(path for _, paths in decided for path in paths)


def explain(snapshot: Snapshot, facts: Facts, at: dt.datetime, rule_id: str) -> tuple[Explanation, ...]:
    """Tell what a rule says about these facts and why: what fires first, silence last.

    A rule that is not active is explained as if it were. At most 200 explanations are given, after at most
    20 000 judgements. Never raises for what the facts hold.
    """
    rule = snapshot.rules.get(rule_id)
    if rule is None:
        fault = "the release has no such rule"
        return (
            Explanation(
                "not_checked", Words("版本中没有这条规则", "The release has no such rule."), fault=fault
            ),
        )
    if not rule.in_force(at.date()):
        until = f" – {rule.valid_to}" if rule.valid_to else ""
        words = Words(
            f"规则在 {at.date()} 不生效（{rule.valid_from}{until}）",
            f"The rule is not in force on {at.date()} ({rule.valid_from}{until}).",
        )
        return (Explanation("silent", words),)
    check = snapshot.checks.get(rule_id)
    if check is None:
        check, _ = compile_check(rule, snapshot.tables, snapshot.parameters, snapshot.drugs)
    if check is None:
        fault = snapshot.faults.get(rule_id, "could not be compiled")
        return (
            Explanation(
                "not_checked", Words(f"规则无法运行：{fault}", f"The rule cannot run: {fault}"), fault=fault
            ),
        )
    told: dict[Outcome, list[Explanation]] = {"fires": [], "not_checked": [], "silent": []}
    for count, judgement in enumerate(judge_all(check, facts, at, _by_first_key(check))):
        outcome: Outcome = (
            "fires" if judgement.said else "silent" if judgement.said is False else "not_checked"
        )
        if len(told[outcome]) < _MOST_EXPLANATIONS:
            told[outcome].append(_told(check, judgement, outcome))
        if count >= _MOST_JUDGEMENTS:
            break
    return tuple([*told["fires"], *told["not_checked"], *told["silent"]][:_MOST_EXPLANATIONS])


def _by_first_key(check: Check) -> Rows | None:
    """Group the rows by their first key, since one explanation asks for them again and again."""
    if check.table is None:
        return None
    key = check.keys[0]
    held: dict[str, list[Row]] = {}
    for row in check.table.rows:
        cell = row[key.column] if key.column is not None else None
        for value in cell if isinstance(cell, frozenset) else (cell,):
            held.setdefault(value or "", []).append(row)

    def rows(env: Env) -> Iterable[Row]:
        value = key.reader.read(env)
        values = sorted(value) if key.is_set else (value,)
        found = {id(row): row for one in values for row in held.get(one, ())}
        return found.values()

    return rows


def _told(check: Check, judgement: Judgement, outcome: Outcome) -> Explanation:
    try:
        return _tell(check, judgement, outcome)
    except Exception as error:
        fault = f"the check broke ({type(error).__name__})"
        return _tell(check, Judgement(judgement.env, None, fault=fault), "not_checked")


def _tell(check: Check, judgement: Judgement, outcome: Outcome) -> Explanation:
    env = judgement.env
    subjects = check.subjects(env)
    if judgement.fault:
        why = Words(f"检查出错：{judgement.fault}", f"The check could not run: {judgement.fault}.")
        return Explanation(outcome, why, subjects, fault=judgement.fault)
    if judgement.without in ("items", "collection"):
        return Explanation(outcome, _no_items(check, judgement), missing=judgement.missing)
    looked_up = None
    if check.table is not None:
        on = {
            check.table.names[key.column]: shown(key.reader.read(env))
            for key in check.keys
            if key.column is not None
        }
        looked_up = LookUp(check.table.header.id, on, 0 if env[ROW] is None else 1)
    if judgement.without == "rows" and looked_up is not None:
        asked = ", ".join(f"{column} = {_said(value)}" for column, value in looked_up.on.items())
        why = Words(
            f"知识表 {looked_up.table} 中没有 {asked} 的有效行",
            f"The table {looked_up.table} has no row in force for {asked}.",
        )
        return Explanation(outcome, why, subjects, looked_up=looked_up)
    steps = tuple(check.test.steps(env))
    outcomes = {step.path: step.outcome for step in steps}
    _, paths = deciding(check.rule.when, outcomes)
    by_path = {step.path: step for step in steps}
    return Explanation(
        outcome,
        _why(outcome, [by_path[path] for path in paths], judgement.missing),
        subjects,
        steps,
        paths,
        check.table.cite(env[ROW]) if check.table is not None and env[ROW] is not None else None,
        looked_up,
        judgement.missing,
        _level_of(check, env) if outcome == "fires" else None,
    )


def _level_of(check: Check, env: Env) -> Level | None:
    try:
        return check.level(env)
    except KeyError:
        return None


def _no_items(check: Check, judgement: Judgement) -> Words:
    kinds = ", ".join(dict.fromkeys(check.kinds))
    if judgement.without == "items":
        return Words(
            f"本次操作没有涉及 {kinds}", f"This action touches no {kinds} that the rule ranges over."
        )
    if judgement.said is False:
        return Words("与具体项目无关的条件不成立", "A condition that depends on no item does not hold.")
    missing = ", ".join(judgement.missing)
    return Words(f"没有提供 {missing}", f"{missing} was not supplied.")


def _why(outcome: Outcome, steps: list[Step], missing: tuple[str, ...]) -> Words:
    if outcome == "not_checked":
        names = ", ".join(missing)
        return Words(f"缺少 {names}，无法判断", f"It cannot be judged without {names}.")
    zh = "；".join(_step_words(step)[0] for step in steps)
    en = "; ".join(_step_words(step)[1] for step in steps)
    if outcome == "fires":
        return Words(f"条件成立：{zh}", f"It holds that: {en}.")
    return Words(f"条件不成立：{zh}", f"It does not fire, because: {en}.")


def _step_words(step: Step) -> tuple[str, str]:
    operator = OPERATORS[step.operator]
    other = "" if step.compared_to is None else f" {_said(step.compared_to)}"
    zh = f"{step.name}（{_said(step.value)}）{operator.zh}{other}"
    en = f"{step.name} ({_said(step.value)}) {operator.en}{other}"
    return f"{zh}：{'是' if step.outcome else '否'}", f"{en}: {'yes' if step.outcome else 'no'}"


def _said(value: Any) -> str:
    if value is None:
        return "?"
    return "|".join(map(str, value)) if isinstance(value, tuple) else str(value)
