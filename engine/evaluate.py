"""Decide: the release in force and the facts give a decision.

This is the hot path. Items reach only the checks that an index finds for them; conditions that do not depend
on an item are judged once; findings are put into words only for what fired.
"""

from __future__ import annotations

import datetime as dt
import logging
from collections.abc import Mapping, Sequence
from typing import Any

from engine.check import Check
from engine.compile.scope import AT, ENVIRONMENT, FACTS, FIRST, MEMO, PATIENT, ROW, SECOND, VISIT, Env
from engine.decision import LEVELS, Decision, Finding, NotChecked, Stage, Subject, Words
from engine.derive import complete
from engine.facts import Facts
from engine.keys import matches
from engine.knowledge import Row
from engine.plan import Always, Entry, Index, Pairs
from engine.snapshot import CLOSED, OPEN, UNSET, UNSURE, Snapshot

__all__ = ["evaluate"]

_LOG = logging.getLogger("ruleward.engine")
_RANK = {level: rank for rank, level in enumerate(LEVELS)}
_UNKNOWN_RULE = Words("未知规则", "Unknown rule")


def evaluate(
    snapshot: Snapshot, facts: Facts, at: dt.datetime, stage: Stage, only: frozenset[str] | None = None
) -> Decision:
    """Judge the facts by the release at a moment and a stage.

    ``only`` restricts the checks to these rule ids; an id that the release does not have is *not checked*.
    Never raises for what the facts or a rule hold: a check that breaks is reported as not checked.
    """
    return _Run(snapshot, facts, at, stage, only).decide()


class _Run:
    """One evaluation."""

    def __init__(
        self, snapshot: Snapshot, facts: Facts, at: dt.datetime, stage: Stage, only: frozenset[str] | None
    ) -> None:
        self.snapshot, self.stage, self.at, self.only = snapshot, stage, at, only
        self.moment = at.replace(tzinfo=None)
        self.on = at.date()
        self.facts = complete(facts, at)
        self.env: Env = [None] * ENVIRONMENT
        self.env[AT], self.env[FACTS] = self.moment, self.facts
        self.env[PATIENT], self.env[VISIT] = self.facts.patient, self.facts.visit
        self.env[MEMO] = {}
        self.standing = snapshot.standing(stage, self.on)
        self.gates = self._first_gates()
        self.fired: dict[tuple[int, tuple[str, ...]], tuple[int, Check, Env]] = {}
        self.open: dict[tuple[int, tuple[str, ...]], NotChecked] = {}

    def _first_gates(self) -> bytearray:
        """Return the gates with those shut for which the visit lacks what they need at all."""
        standing, memo = self.standing, self.env[MEMO]
        gates = bytearray(standing.waiting)
        for key, (needed, numbers) in self.snapshot.plan.needs.items():
            counts = memo[key] = needed.count(self.env)
            # Unknown: whatever needs it has to be judged.
            for text in numbers if counts is None else counts.keys() & numbers.keys():
                for number in numbers[text]:
                    gates[number] = standing.gates[number]
        return gates

    def decide(self) -> Decision:
        plan = self.snapshot.plan
        for index in plan.indexes:
            self._run_index(index)
        for always in plan.always:
            self._run_always(always)
        for pairs in plan.pairs:
            self._run_pairs(pairs)
        for check in plan.once:
            self._judge_rows(check)
        return self._decision()

    # -- which checks meet which items ----------------------------------------------------------------

    def _run_index(self, index: Index) -> None:
        items = getattr(self.facts, index.attribute)
        if items is None:
            for check in index.checks:
                self._unknown(check, (), (index.kind,))
            return
        env, entries = self.env, index.entries
        for item in items:
            if not item.in_focus:
                continue
            env[FIRST] = item
            value = getattr(item, index.field)
            if value is None:
                for check in index.checks:
                    self._judge_without_key(check)
            elif index.is_set:
                for element in value:
                    if element in entries:
                        self._judge_found(entries[element], index, item)
            elif value in entries:
                self._judge_found(entries[value], index, item)

    def _judge_found(self, found: dict[str | None, list[Entry]], index: Index, item: Any) -> None:
        if None in found:
            self._judge_entries(found[None])
        if index.second is None:
            return
        value = getattr(item, index.second)
        if value is not None:
            if value in found:
                self._judge_entries(found[value])
            return
        for second, entries in found.items():
            if second is not None:
                for _, _, row, check in entries:
                    self._judge(check, row)

    def _judge_entries(self, entries: Sequence[Entry]) -> None:
        """Judge what was found for the items bound now; of its conditions false wins, then unknown."""
        env, gates = self.env, self.gates
        for number, judges, row, check in entries:
            gate = gates[number]
            if gate == CLOSED:
                continue
            if gate == UNSET and (gate := self._gate(check)) == CLOSED:
                continue
            env[ROW] = row
            certain = gate == OPEN
            try:
                for judge in judges:
                    said = judge(env)
                    if said is False:
                        break
                    if not said:
                        certain = False
                else:
                    if certain:
                        self._fire(check)
                    else:
                        self._unsure(check)
            except Exception as error:
                self._broken(check, error)

    def _run_always(self, always: Always) -> None:
        items = getattr(self.facts, always.attribute)
        if items is None:
            for check in always.checks:
                self._unknown(check, (), (always.kind,))
            return
        for item in items:
            if not item.in_focus:
                continue
            self.env[FIRST] = item
            self._judge_entries(always.entries)
            for field, bounds in always.bounds.items():
                self._judge_entries(bounds.find(getattr(item, field)))
            for check in always.tabled:
                if self._gate(check) != CLOSED:
                    self._judge_rows(check)

    def _judge_rows(self, check: Check) -> None:
        """Judge a check whose table is not keyed on its first item: every row stands to be tried."""
        if check.table is None:
            self._judge(check, None)
            return
        try:
            if check.keys[0].reader.read(self.env) is None:
                self._judge_without_key(check)
                return
            first = matches(check.keys[0], empty=False).judge
            for row in check.table.rows:
                self.env[ROW] = row
                if first(self.env):
                    self._judge(check, row)
        except Exception as error:
            self._broken(check, error)

    def _run_pairs(self, pairs: Pairs) -> None:
        check, env = pairs.check, self.env
        if self._gate(check) == CLOSED:
            return
        firsts = getattr(self.facts, check.attributes[0])
        seconds = getattr(self.facts, check.attributes[1])
        if firsts is None or seconds is None:
            if firsts == () or seconds == ():
                return
            kinds = zip(check.kinds, (firsts, seconds), strict=True)
            self._unknown(check, (), tuple(dict.fromkeys(kind for kind, items in kinds if items is None)))
            return
        if self._cannot_meet(pairs):
            return
        if pairs.partners is not None:
            self._run_partners(pairs, firsts, seconds)
            return
        by_row = check.table is not None and check.key is None
        by_second = check.key is not None and check.key.slot == SECOND
        rows: tuple[Row | None, ...] | list[Row] | None = (None,)
        for first in firsts:
            env[FIRST] = first
            if not by_row and not by_second:
                rows = self._rows_for(pairs)
                if rows is not None and not rows:
                    continue
            for second in seconds:
                if not self._meet(check, first, second):
                    continue
                env[SECOND] = second
                if by_row:
                    self._judge_rows(check)
                    continue
                if by_second:
                    rows = self._rows_for(pairs)
                if rows is None:
                    self._judge_without_key(check)
                    continue
                for row in rows:
                    self._judge(check, row)
        env[SECOND] = None

    def _cannot_meet(self, pairs: Pairs) -> bool:
        """Say whether what is known of all items leaves this check no pair, which is so for most checks."""
        check, key = pairs.check, pairs.check.key
        if key is None:
            if check.common is None:
                return False
            field, is_set = check.common
            items, unknown = self._by_value(check.attributes[0], field, is_set=is_set)
            return not unknown and all(len(those) < 2 for those in items.values())
        attribute = check.attributes[check.slots.index(key.slot)]
        items, unknown = self._by_value(attribute, key.field, is_set=key.is_set)
        if unknown:
            return False
        if pairs.partners is not None:
            return items.keys().isdisjoint(pairs.partners.keys())
        return items.keys().isdisjoint(key.constants if pairs.rows is None else pairs.rows.keys())

    def _by_value(
        self, attribute: str, field: str, *, is_set: bool
    ) -> tuple[dict[str, list[Any]], list[Any]]:
        """Return the items of a collection by a fact of theirs, and those of which it is unknown."""
        memo, key = self.env[MEMO], ("items", attribute, field)
        if key in memo:
            return memo[key]  # type: ignore[no-any-return]
        by_value: dict[str, list[Any]] = {}
        unknown: list[Any] = []
        for item in getattr(self.facts, attribute):
            value = getattr(item, field)
            if value is None:
                unknown.append(item)
                continue
            for element in value if is_set else (value,):
                by_value.setdefault(element, []).append(item)
        memo[key] = by_value, unknown
        return by_value, unknown

    @staticmethod
    def _meet(check: Check, first: Any, second: Any) -> bool:
        """Say whether two items make a pair: different ones, of which the action touches one."""
        return (first.in_focus or second.in_focus) and not (check.symmetric and first is second)

    def _rows_for(self, pairs: Pairs) -> tuple[Row | None, ...] | list[Row] | None:
        """Return the rows that the keyed item can meet; ``None`` when its key is unknown."""
        key = pairs.check.key
        if key is None:
            return (None,)
        value = key.reader.read(self.env)
        if value is None:
            return None
        values = value if key.is_set else (value,)
        if pairs.rows is None:
            return (None,) if not key.constants.isdisjoint(values) else ()
        return [row for one in values for row in pairs.rows.get(one, ())]

    def _run_partners(self, pairs: Pairs, firsts: Any, seconds: Any) -> None:
        check, env, partners = pairs.check, self.env, pairs.partners
        key, partner = check.key, check.partner
        if key is None or partner is None or partners is None:
            return
        by_value, unknown = self._by_value(check.attributes[1], partner.field, is_set=partner.is_set)
        present = by_value.keys()
        for first in firsts:
            value = getattr(first, key.field)
            env[FIRST] = first
            if value is None:
                for second in seconds:
                    if self._meet(check, first, second):
                        env[SECOND] = second
                        self._judge_without_key(check)
                continue
            for element in value if key.is_set else (value,):
                others = partners.get(element)
                if others is None:
                    continue
                for shared in present & others.keys():
                    held = others[shared]
                    for second in by_value[shared]:
                        if not self._meet(check, first, second):
                            continue
                        env[SECOND] = second
                        for row in held if isinstance(held, list) else (held,):
                            self._judge(check, row)
                for second in unknown:
                    if self._meet(check, first, second):
                        env[SECOND] = second
                        self._judge_without_partner(check, others)
        env[SECOND] = None

    def _judge_without_partner(self, check: Check, others: Mapping[str, Row | list[Row]]) -> None:
        """Judge a pair whose second item is not understood: silent only if every row would be."""
        env = self.env
        try:
            for held in others.values():
                for row in held if isinstance(held, list) else (held,):
                    env[ROW] = row
                    if check.rest(env) is not False:
                        self._unknown(check, check.subjects(self._bound(check)), check.missing(env))
                        return
        except Exception as error:
            self._broken(check, error)

    # -- what a check says about the items bound now ----------------------------------------------------

    def _gate(self, check: Check) -> int:
        """Return what is known of the conditions that do not depend on an item; they are judged once."""
        gate = self.gates[check.number]
        if gate == UNSET:
            self.env[ROW] = None
            if self.only is not None and check.rule.id not in self.only:
                gate = CLOSED
            else:
                gate = OPEN
                try:
                    for judge in check.gates:
                        said = judge(self.env)
                        if said is False:
                            gate = CLOSED
                            break
                        if not said:
                            gate = UNSURE
                except Exception as error:
                    gate = CLOSED
                    self._broken(check, error)
            self.gates[check.number] = gate
        return gate

    def _judge(self, check: Check, row: Row | None) -> None:
        self._judge_entries(((check.number, check.judges, row, check),))

    def _unsure(self, check: Check) -> None:
        self._unknown(check, check.subjects(self._bound(check)), check.missing(self.env))

    def _judge_without_key(self, check: Check) -> None:
        """Judge a check whose key is unknown: silent only if it is false whatever the key would be."""
        if self._gate(check) == CLOSED:
            return
        env = self.env
        env[ROW] = None
        try:
            if check.test.judge(env) is not False:
                bound = self._bound(check)
                missing = tuple(key.reader.name for key in self._keys(check) if key.reader.read(env) is None)
                missing = tuple(dict.fromkeys(missing + check.missing(env)))
                self._unknown(check, check.subjects(bound), missing)
        except Exception as error:
            self._broken(check, error)

    @staticmethod
    def _keys(check: Check) -> tuple[Any, ...]:
        return check.keys or ((check.key,) if check.key else ())

    def _bound(self, check: Check) -> Env:
        """Return the environment with only the items that this check binds."""
        env = self.env.copy()
        if len(check.slots) < 2:
            env[SECOND] = None
            if not check.slots:
                env[FIRST] = None
        return env

    def _fire(self, check: Check) -> None:
        env = self._bound(check)
        rank = check.rank
        if rank is None:
            rank = _RANK[check.level(env)]
        if len(check.slots) == 1:
            ids: tuple[str, ...] = (env[FIRST].id,)
        else:
            ids = check.ids([env[slot].id for slot in check.slots])
        key = (check.number, ids)
        held = self.fired.get(key)
        if held is None or rank < held[0] or (rank == held[0] and check.comes_before(env, held[2])):
            self.fired[key] = (rank, check, env)

    def _unknown(self, check: Check, subjects: tuple[Subject, ...], missing: tuple[str, ...]) -> None:
        if check.shadow or self._gate(check) == CLOSED:
            return
        key = (check.number, check.ids([subject.id for subject in subjects]))
        held = self.open.get(key)
        if held is not None:
            missing = tuple(sorted({*held.missing, *missing}))  # rows come in no order
        self.open[key] = check.not_checked(subjects, missing)

    def _broken(self, check: Check, error: Exception) -> None:
        """A check that breaks must be seen: it is not checked, never silent."""
        _LOG.error("check %s broke: %s", check.rule.id, type(error).__name__, exc_info=error)
        if check.shadow:
            return
        fault = f"the check broke ({type(error).__name__})"
        self.open[check.number, ("fault",)] = check.not_checked((), (), fault)

    # -- the answer ------------------------------------------------------------------------------------

    def _decision(self) -> Decision:
        shown: list[tuple[int, Finding]] = []
        shadow: list[tuple[int, Finding]] = []
        for rank, check, env in self.fired.values():
            try:
                finding = check.finding(env, LEVELS[rank])
            except Exception as error:
                self._broken(check, error)
                continue
            (shadow if check.shadow else shown).append((rank, finding))
        required, ran = self.standing.required, self.standing.runnable
        not_checked = self._not_checked()
        if self.only is not None:
            required = required & self.only
            ran = ran & self.only
            unknown = self.only - self.snapshot.rules.keys()
            required |= unknown
            not_checked += [
                NotChecked(rule, _UNKNOWN_RULE, (), fault="the release has no such rule")
                for rule in sorted(unknown)
            ]
        if not_checked:
            ran = ran - {gap.rule for gap in not_checked}
        return Decision(
            stage=self.stage,
            at=self.at,
            release=self.snapshot.release,
            findings=_sorted(shown),
            shadow=_sorted(shadow),
            not_checked=tuple(not_checked),
            required=required,
            ran=ran,
        )

    def _not_checked(self) -> list[NotChecked]:
        gaps = [self.open[key] for key in sorted(self.open)]
        if not self.snapshot.faults:
            return gaps
        required = self.standing.required
        for rule_id in sorted(self.snapshot.faults):
            if rule_id in required and (self.only is None or rule_id in self.only):
                title = self.snapshot.rules[rule_id].title
                gaps.append(NotChecked(rule_id, title, (), fault=self.snapshot.faults[rule_id]))
        return gaps


def _sorted(ranked: list[tuple[int, Finding]]) -> tuple[Finding, ...]:
    """Order findings worst first, then by rule and subjects, so that the same facts give the same answer."""
    if len(ranked) > 1:
        ranked.sort(key=_order)
    return tuple([finding for _, finding in ranked])


def _order(pair: tuple[int, Finding]) -> tuple[int, str, list[str]]:
    rank, finding = pair
    return rank, finding.rule, [subject.id for subject in finding.subjects]
