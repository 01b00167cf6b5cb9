"""Hold a release ready to decide: checks found by index, knowledge, parameters and the drug dictionary.

A snapshot is made whole and never changed, so a request that read it keeps it to its end while the next
request reads the next one.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterable, Mapping

import msgspec

from engine.check import Check, compile_check
from engine.decision import Stage
from engine.drugs import Dictionary
from engine.errors import RuleError
from engine.knowledge import Table
from engine.parameters import Parameter
from engine.plan import Plan
from engine.rule import Rule

__all__ = [
    "CLOSED",
    "OPEN",
    "UNSET",
    "UNSURE",
    "Snapshot",
    "Standing",
    "build_snapshot",
]

_MOST_DAYS = 200

UNSET, CLOSED, OPEN, UNSURE = range(4)
"""What is known of a check's gate in one evaluation."""


class Standing(msgspec.Struct, frozen=True):
    """What a stage needs on a day: rules required, those that can run, and gates shut from the start."""

    required: frozenset[str]
    runnable: frozenset[str]
    gates: bytes
    waiting: bytes  # the gates with those shut that need something of the visit


class Snapshot:
    """One release, ready to decide."""

    def __init__(
        self,
        release: str,
        rules: tuple[Rule, ...],
        checks: tuple[Check, ...],
        faults: Mapping[str, str],
        drugs: Dictionary,
        tables: Mapping[str, Table],
        parameters: Mapping[str, Parameter],
    ) -> None:
        self.release = release
        self.rules = {rule.id: rule for rule in rules}
        self.checks = {check.rule.id: check for check in checks}
        self.faults = dict(faults)
        self.drugs = drugs
        self.tables = dict(tables)
        self.parameters = dict(parameters)
        for number, check in enumerate(checks):
            check.number = number
        self.count = len(checks)
        self.plan = Plan(checks)
        self.installed = {
            stage: frozenset(check.rule.id for check in checks if stage in check.rule.stages)
            for stage in Stage
        }
        self._standings: dict[tuple[Stage, dt.date], Standing] = {}

    def required(self, stage: Stage, on: dt.date) -> frozenset[str]:
        """Return the ids of the active rules in force that this stage needs, whether they compiled or not."""
        return self.standing(stage, on).required

    def standing(self, stage: Stage, on: dt.date) -> Standing:
        """Return what this stage needs on this day; remembered, since most decisions are of today."""
        key = (stage, on)
        held = self._standings.get(key)
        if held is None:
            if len(self._standings) > _MOST_DAYS:
                self._standings.clear()
            required = frozenset(
                rule.id
                for rule in self.rules.values()
                if rule.status == "active" and stage in rule.stages and rule.in_force(on)
            )
            checks = self.checks.values()
            gates = bytes(
                (UNSET if check.gates else OPEN)
                if stage in check.rule.stages and check.rule.in_force(on)
                else CLOSED
                for check in checks
            )
            waiting = bytes(
                gate if check.needs is None else CLOSED for gate, check in zip(gates, checks, strict=True)
            )
            held = Standing(required, self.installed[stage] & required, gates, waiting)
            self._standings[key] = held
        return held

    def ids_by_code(self) -> dict[str, str]:
        """Return official code -> rule id, for callers that name rules by the insurer's codes."""
        return {rule.official_code: rule.id for rule in self.rules.values() if rule.official_code}


def _no_rest() -> None:
    return None


def _same_drugs(before: Snapshot, tables: Mapping[str, Table]) -> bool:
    """Say whether the dictionary would be the same: all its tables are called ``drug_…``."""
    names = {name for name in (*tables, *before.tables) if name.startswith("drug_")}
    return all(tables.get(name) is before.tables.get(name) for name in names)


def _same(before: Snapshot, tables: Mapping[str, Table], parameters: Mapping[str, Parameter]) -> bool:
    """Say whether these are the very tables and parameters of a snapshot."""
    return (
        tables.keys() == before.tables.keys()
        and parameters.keys() == before.parameters.keys()
        and all(tables[name] is table for name, table in before.tables.items())
        and all(parameters[name] is parameter for name, parameter in before.parameters.items())
    )


def build_snapshot(
    release: str,
    rules: Iterable[Rule],
    tables: Mapping[str, Table],
    parameters: Mapping[str, Parameter],
    before: Snapshot | None = None,
    rest: Callable[[], None] = _no_rest,
) -> tuple[Snapshot, list[RuleError]]:
    """Compile every rule that is shadow or active; a rule that cannot run becomes a fault of the snapshot.

    Returns the snapshot and all faults; a release with faults must not get in force, and a snapshot that has
    one answers *not checked* for it. Where the tables and parameters are the very ones of ``before``, so are
    the checks of rules that did not change. ``rest`` is called between rules.
    """
    drugs = before.drugs if before is not None and _same_drugs(before, tables) else Dictionary(tables)
    reusable = before.checks if before is not None and _same(before, tables, parameters) else {}
    checks: list[Check] = []
    errors: list[RuleError] = []
    faults: dict[str, str] = {}
    kept = tuple(rules)
    for rule in kept:
        rest()
        check = reusable.get(rule.id)
        found: list[RuleError] = []
        # A check carries its number, so it serves both snapshots only where it has the same in both.
        if check is None or check.rule is not rule or check.number != len(checks):
            check, found = compile_check(rule, tables, parameters, drugs)
        errors += found
        if check is None:
            faults[rule.id] = str(found[0]) if found else "could not be compiled"
        elif rule.status in ("active", "shadow"):
            checks.append(check)
    return Snapshot(release, kept, tuple(checks), faults, drugs, tables, parameters), errors
