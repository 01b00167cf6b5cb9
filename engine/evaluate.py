"""Decide: the release in force and the facts give a decision.

This is the hot path. Items reach only the checks that an index finds for them; conditions that do not depend
on an item are judged once; findings are put into words only for what fired.
"""

from __future__ import annotations

import datetime as dt
from typing import Any

from engine.compile.scope import FIRST
from engine.decision import LEVELS, Decision, Finding, NotChecked, Stage, Words
from engine.facts import Facts
from engine.pairs import judge_pairs
from engine.plan import Always, Entry, Index
from engine.run import Run
from engine.snapshot import CLOSED, Snapshot

__all__ = ["evaluate"]

_UNKNOWN_RULE = Words("未知规则", "Unknown rule")


def evaluate(
    snapshot: Snapshot, facts: Facts, at: dt.datetime, stage: Stage, only: frozenset[str] | None = None
) -> Decision:
    """Judge the facts by the release at a moment and a stage.

    ``only`` restricts the checks to these rule ids; an id that the release does not have is *not checked*.
    Never raises for what the facts or a rule hold: a check that breaks is reported as not checked.
    """
    run, plan = Run(snapshot, facts, at, stage, only), snapshot.plan
    for index in plan.indexes:
        _run_index(run, index)
    for always in plan.always:
        _run_always(run, always)
    for pairs in plan.pairs:
        judge_pairs(run, pairs)
    for check in plan.once:
        run.judge_rows(check)
    return _decision(run)


def _run_index(run: Run, index: Index) -> None:
    items = getattr(run.facts, index.attribute)
    if items is None:
        for check in index.checks:
            run.unknown(check, (), (index.kind,))
        return
    env, entries = run.env, index.entries
    for item in items:
        if not item.in_focus:
            continue
        env[FIRST] = item
        value = getattr(item, index.field)
        if value is None:
            for check in index.checks:
                run.judge_without_key(check)
        elif index.is_set:
            for element in value:
                if element in entries:
                    _judge_found(run, entries[element], index, item)
        elif value in entries:
            _judge_found(run, entries[value], index, item)


def _judge_found(run: Run, found: dict[str | None, list[Entry]], index: Index, item: Any) -> None:
    if None in found:
        run.judge_entries(found[None])
    if index.second is None:
        return
    value = getattr(item, index.second)
    if value is not None:
        if value in found:
            run.judge_entries(found[value])
        return
    for second, entries in found.items():
        if second is not None:
            for _, _, row, check in entries:
                run.judge(check, row)


def _run_always(run: Run, always: Always) -> None:
    items = getattr(run.facts, always.attribute)
    if items is None:
        for check in always.checks:
            run.unknown(check, (), (always.kind,))
        return
    for item in items:
        if not item.in_focus:
            continue
        run.env[FIRST] = item
        run.judge_entries(always.entries)
        for field, bounds in always.bounds.items():
            run.judge_entries(bounds.find(getattr(item, field)))
        for check in always.tabled:
            if run.gate_of(check) != CLOSED:
                run.judge_rows(check)


def _decision(run: Run) -> Decision:
    shown: list[tuple[int, Finding]] = []
    shadow: list[tuple[int, Finding]] = []
    for rank, check, env in run.fired.values():
        try:
            finding = check.finding(env, LEVELS[rank])
        except Exception as error:
            run.broken(check, error)
            continue
        (shadow if check.shadow else shown).append((rank, finding))
    required, ran = run.standing.required, run.standing.runnable
    not_checked = _not_checked(run)
    if run.only is not None:
        required = required & run.only
        ran = ran & run.only
        unknown = run.only - run.snapshot.rules.keys()
        required |= unknown
        not_checked += [
            NotChecked(rule, _UNKNOWN_RULE, (), fault="the release has no such rule")
            for rule in sorted(unknown)
        ]
    if not_checked:
        ran = ran - {gap.rule for gap in not_checked}
    return Decision(
        stage=run.stage,
        at=run.at,
        release=run.snapshot.release,
        findings=_sorted(shown),
        shadow=_sorted(shadow),
        not_checked=tuple(not_checked),
        required=required,
        ran=ran,
    )


def _not_checked(run: Run) -> list[NotChecked]:
    gaps = [run.open[key] for key in sorted(run.open)]
    if not run.snapshot.faults:
        return gaps
    required = run.standing.required
    for rule_id in sorted(run.snapshot.faults):
        if rule_id in required and (run.only is None or rule_id in run.only):
            title = run.snapshot.rules[rule_id].title
            gaps.append(NotChecked(rule_id, title, (), fault=run.snapshot.faults[rule_id]))
    return gaps


def _sorted(ranked: list[tuple[int, Finding]]) -> tuple[Finding, ...]:
    """Order findings worst first, then by rule and subjects, so that the same facts give the same answer."""
    if len(ranked) > 1:
        ranked.sort(key=_order)
    return tuple([finding for _, finding in ranked])


def _order(pair: tuple[int, Finding]) -> tuple[int, str, list[str]]:
    rank, finding = pair
    return rank, finding.rule, [subject.id for subject in finding.subjects]
