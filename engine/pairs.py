"""Judge the checks about two items: find the pairs that can meet, then ask the check."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from engine.check import Check
from engine.compile.scope import FIRST, MEMO, ROW, SECOND
from engine.knowledge import Row
from engine.plan import Pairs
from engine.run import Run
from engine.snapshot import CLOSED

__all__ = ["judge_pairs"]


def judge_pairs(run: Run, pairs: Pairs) -> None:
    """Judge a check on all pairs of items that it concerns."""
    check, env = pairs.check, run.env
    if run.gates[check.number] == CLOSED:
        return
    firsts = getattr(run.facts, check.attributes[0])
    seconds = getattr(run.facts, check.attributes[1])
    if firsts is None or seconds is None:
        if firsts == () or seconds == ():
            return
        kinds = zip(check.kinds, (firsts, seconds), strict=True)
        run.unknown(check, (), tuple(dict.fromkeys(kind for kind, items in kinds if items is None)))
        return
    if not firsts or not seconds or _cannot_meet(run, pairs) or run.gate_of(check) == CLOSED:
        return
    if pairs.partners is not None:
        _run_partners(run, pairs, firsts, seconds)
        return
    by_row = check.table is not None and check.key is None
    by_second = check.key is not None and check.key.slot == SECOND
    rows: tuple[Row | None, ...] | list[Row] | None = (None,)
    for first in firsts:
        env[FIRST] = first
        if not by_row and not by_second:
            rows = _rows_for(run, pairs)
            if rows is not None and not rows:
                continue
        for second in seconds:
            if not _meet(check, first, second):
                continue
            env[SECOND] = second
            if by_row:
                run.judge_rows(check)
                continue
            if by_second:
                rows = _rows_for(run, pairs)
            if rows is None:
                run.judge_without_key(check)
                continue
            for row in rows:
                run.judge(check, row)
    env[SECOND] = None


def _cannot_meet(run: Run, pairs: Pairs) -> bool:
    """Say whether what is known of all items leaves this check no pair, which is so for most checks."""
    check, key = pairs.check, pairs.check.key
    if key is None:
        if check.common is None:
            return False
        (field, is_set), (other, other_is_set) = check.common
        items, unknown = _by_value(run, check.attributes[0], field, is_set=is_set)
        if check.symmetric and field == other:
            return not unknown and all(len(those) < 2 for those in items.values())
        others, not_known = _by_value(run, check.attributes[1], other, is_set=other_is_set)
        return not unknown and not not_known and items.keys().isdisjoint(others.keys())
    attribute = check.attributes[check.slots.index(key.slot)]
    items, unknown = _by_value(run, attribute, key.field, is_set=key.is_set)
    if unknown:
        return False
    if pairs.partners is not None:
        return items.keys().isdisjoint(pairs.partners.keys())
    return items.keys().isdisjoint(key.constants if pairs.rows is None else pairs.rows.keys())


def _by_value(
    run: Run, attribute: str, field: str, *, is_set: bool
) -> tuple[dict[str, list[Any]], list[Any]]:
    """Return the items of a collection by a fact of theirs, and those of which it is unknown."""
    memo, key = run.env[MEMO], ("items", attribute, field)
    if key in memo:
        return memo[key]  # type: ignore[no-any-return]
    by_value: dict[str, list[Any]] = {}
    unknown: list[Any] = []
    for item in getattr(run.facts, attribute):
        value = getattr(item, field)
        if value is None:
            unknown.append(item)
            continue
        for element in value if is_set else (value,):
            by_value.setdefault(element, []).append(item)
    memo[key] = by_value, unknown
    return by_value, unknown


def _meet(check: Check, first: Any, second: Any) -> bool:
    """Say whether two items make a pair: different ones, of which the action touches one."""
    return (first.in_focus or second.in_focus) and not (check.symmetric and first is second)


def _rows_for(run: Run, pairs: Pairs) -> tuple[Row | None, ...] | list[Row] | None:
    """Return the rows that the keyed item can meet; ``None`` when its key is unknown."""
    key = pairs.check.key
    if key is None:
        return (None,)
    value = key.reader.read(run.env)
    if value is None:
        return None
    values = value if key.is_set else (value,)
    if pairs.rows is None:
        return (None,) if not key.constants.isdisjoint(values) else ()
    return [row for one in values for row in pairs.rows.get(one, ())]


def _run_partners(run: Run, pairs: Pairs, firsts: Any, seconds: Any) -> None:
    check, env, partners = pairs.check, run.env, pairs.partners
    key, partner = check.key, check.partner
    if key is None or partner is None or partners is None:
        return
    by_value, unknown = _by_value(run, check.attributes[1], partner.field, is_set=partner.is_set)
    present = by_value.keys()
    for first in firsts:
        value = getattr(first, key.field)
        env[FIRST] = first
        if value is None:
            for second in seconds:
                if _meet(check, first, second):
                    env[SECOND] = second
                    run.judge_without_key(check)
            continue
        for element in value if key.is_set else (value,):
            others = partners.get(element)
            if others is None:
                continue
            for shared in present & others.keys():
                held = others[shared]
                for second in by_value[shared]:
                    if not _meet(check, first, second):
                        continue
                    env[SECOND] = second
                    for row in held if isinstance(held, list) else (held,):
                        run.judge(check, row)
            for second in unknown:
                if _meet(check, first, second):
                    env[SECOND] = second
                    _judge_without_partner(run, check, others)
    env[SECOND] = None


def _judge_without_partner(run: Run, check: Check, others: Mapping[str, Row | list[Row]]) -> None:
    """Judge a pair whose second item is not understood: silent only if every row would be."""
    env = run.env
    try:
        for held in others.values():
            for row in held if isinstance(held, list) else (held,):
                env[ROW] = row
                if check.rest(env) is not False:
                    run.unknown(check, check.subjects(run.bound(check)), check.missing(env))
                    return
    except Exception as error:
        run.broken(check, error)
