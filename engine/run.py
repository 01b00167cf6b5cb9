"""Judge one visit: what a check says about the items that are bound now, and what came of it so far."""

from __future__ import annotations

import datetime as dt
import logging
from collections.abc import Sequence
from typing import Any

from engine.check import Check
from engine.compile.scope import AT, ENVIRONMENT, FACTS, FIRST, MEMO, PATIENT, ROW, SECOND, VISIT, Env
from engine.decision import LEVELS, NotChecked, Stage, Subject
from engine.derive import complete
from engine.facts import Facts
from engine.keys import matches
from engine.knowledge import Row
from engine.plan import Entry
from engine.snapshot import CLOSED, OPEN, UNSET, UNSURE, Snapshot

__all__ = ["Run"]

_LOG = logging.getLogger("ruleward.engine")
_RANK = {level: rank for rank, level in enumerate(LEVELS)}


class Run:
    """One evaluation: the environment, the gates, what fired and what stayed open."""

    def __init__(
        self, snapshot: Snapshot, facts: Facts, at: dt.datetime, stage: Stage, only: frozenset[str] | None
    ) -> None:
        self.snapshot, self.stage, self.at, self.only = snapshot, stage, at, only
        self.moment = at.replace(tzinfo=None)
        self.on = at.date()
        self.facts = complete(facts, at, snapshot.plan.wanted)
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
        if self.only is not None:  # whether a check is asked for at all is seen at its gate
            gates = gates.replace(bytes((OPEN,)), bytes((UNSET,)))
        for key, (needed, numbers) in self.snapshot.plan.needs.items():
            counts = memo[key] = needed.count(self.env)
            # Unknown: whatever needs it has to be judged.
            for text in numbers if counts is None else counts.keys() & numbers.keys():
                for number in numbers[text]:
                    gates[number] = standing.gates[number]
        return gates

    def judge_entries(self, entries: Sequence[Entry]) -> None:
        """Judge what was found for the items bound now; of its conditions false wins, then unknown."""
        env, gates = self.env, self.gates
        for number, judges, row, check in entries:
            gate = gates[number]
            if gate == CLOSED:
                continue
            if gate == UNSET and (gate := self.gate_of(check)) == CLOSED:
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
                self.broken(check, error)

    def judge_rows(self, check: Check) -> None:
        """Judge a check whose table is not keyed on its first item: every row stands to be tried."""
        if check.table is None:
            self.judge(check, None)
            return
        try:
            if check.keys[0].reader.read(self.env) is None:
                self.judge_without_key(check)
                return
            first = matches(check.keys[0], empty=False).judge
            for row in check.table.rows:
                self.env[ROW] = row
                if first(self.env):
                    self.judge(check, row)
        except Exception as error:
            self.broken(check, error)

    def gate_of(self, check: Check) -> int:
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
                    self.broken(check, error)
            self.gates[check.number] = gate
        return gate

    def judge(self, check: Check, row: Row | None) -> None:
        self.judge_entries(((check.number, check.judges, row, check),))

    def _unsure(self, check: Check) -> None:
        self.unknown(check, check.subjects(self.bound(check)), check.missing(self.env))

    def judge_without_key(self, check: Check) -> None:
        """Judge a check whose key is unknown: silent only if it is false whatever the key would be."""
        if self.gate_of(check) == CLOSED:
            return
        env = self.env
        env[ROW] = None
        try:
            if check.test.judge(env) is not False:
                bound = self.bound(check)
                missing = tuple(key.reader.name for key in self._keys(check) if key.reader.read(env) is None)
                missing = tuple(dict.fromkeys(missing + check.missing(env)))
                self.unknown(check, check.subjects(bound), missing)
        except Exception as error:
            self.broken(check, error)

    @staticmethod
    def _keys(check: Check) -> tuple[Any, ...]:
        return check.keys or ((check.key,) if check.key else ())

    def bound(self, check: Check) -> Env:
        """Return the environment with only the items that this check binds."""
        env = self.env.copy()
        if len(check.slots) < 2:
            env[SECOND] = None
            if not check.slots:
                env[FIRST] = None
        return env

    def _fire(self, check: Check) -> None:
        env = self.bound(check)
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

    def unknown(self, check: Check, subjects: tuple[Subject, ...], missing: tuple[str, ...]) -> None:
        if check.shadow or self.gate_of(check) == CLOSED:
            return
        key = (check.number, check.ids([subject.id for subject in subjects]))
        held = self.open.get(key)
        if held is not None:
            missing = tuple(sorted({*held.missing, *missing}))  # rows come in no order
        self.open[key] = check.not_checked(subjects, missing)

    def broken(self, check: Check, error: Exception) -> None:
        """A check that breaks must be seen: it is not checked, never silent."""
        _LOG.error("check %s broke: %s", check.rule.id, type(error).__name__, exc_info=error)
        if check.shadow:
            return
        fault = f"the check broke ({type(error).__name__})"
        self.open[check.number, ("fault",)] = check.not_checked((), (), fault)
