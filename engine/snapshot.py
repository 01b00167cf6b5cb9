"""Hold a release ready to decide: checks found by index, knowledge, parameters and the drug dictionary.

A snapshot is made whole and never changed, so a request that read it keeps it to its end while the next
request reads the next one.
"""

from __future__ import annotations

import bisect
import datetime as dt
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import msgspec

from engine.check import Bound, Check, Key, compile_check
from engine.compile.closure import Judge
from engine.compile.scope import ENVIRONMENT, ROW, Counted, Env
from engine.decision import Stage
from engine.drugs import Dictionary
from engine.errors import RuleError
from engine.knowledge import Row, Table
from engine.operators._operator import EPSILON
from engine.parameters import Parameter
from engine.rule import Rule

__all__ = [
    "CLOSED",
    "OPEN",
    "UNSET",
    "UNSURE",
    "Always",
    "Bounds",
    "Entry",
    "Index",
    "Pairs",
    "Plan",
    "Snapshot",
    "Standing",
    "build_snapshot",
]

_MOST_DAYS = 200
_SLACK = 4 * EPSILON  # an index may find too much, never too little

Entry = tuple[int, tuple[Judge, ...], Row | None, Check]
"""What an index finds: the check's number and what is to be judged, at hand, then the row and the check."""

UNSET, CLOSED, OPEN, UNSURE = range(4)
"""What is known of a check's gate in one evaluation."""


class Standing(msgspec.Struct, frozen=True):
    """What a stage needs on a day: rules required, those that can run, and gates shut from the start."""

    required: frozenset[str]
    runnable: frozenset[str]
    gates: bytes
    waiting: bytes  # the gates with those shut that need something of the visit


class Index:
    """All single-item checks keyed on the same facts of one collection, merged over rules.

    ``entries`` gives, by the first fact, what is found by the second one; under ``None`` stands what asks for
    no second fact. A row that its own cells rule out is not there at all.
    """

    __slots__ = ("attribute", "checks", "entries", "field", "is_set", "kind", "second")

    def __init__(self, kind: str, attribute: str, field: str, second: str | None, *, is_set: bool) -> None:
        self.kind, self.attribute, self.field, self.second = kind, attribute, field, second
        self.is_set = is_set
        self.checks: list[Check] = []
        self.entries: dict[str, dict[str | None, list[Entry]]] = {}

    def add(self, check: Check, key: Key) -> None:
        """File a check under each of its constants, or each row of its table under the row's key."""
        self.checks.append(check)
        if key.column is None or check.table is None:
            for constant in key.constants:
                self._file(constant, None, (check.number, check.judges, None, check))
            return
        second = check.second.column if check.second is not None else None
        env: Env = [None] * ENVIRONMENT
        whole = (*check.static, *check.moving)
        for row in check.table.rows:
            env[ROW] = row
            said = [judge(env) for judge in check.static]
            if False in said:
                continue
            entry = (check.number, whole if None in said else check.moving, row, check)
            for value in _values(row[key.column]):
                self._file(value, row[second] if second is not None else None, entry)

    def _file(self, first: str, second: str | None, entry: Entry) -> None:
        self.entries.setdefault(first, {}).setdefault(second, []).append(entry)


class Bounds:
    """Checks that need a number of an item to be at least, or at most, so much; found by that number."""

    __slots__ = ("at_least", "at_most", "field", "highs", "lows")

    def __init__(self, field: str) -> None:
        self.field = field
        self.lows: list[float] = []
        self.at_least: list[Entry] = []
        self.highs: list[float] = []
        self.at_most: list[Entry] = []

    def add(self, bound: Bound, entry: Entry) -> None:
        """File a check by its bound."""
        numbers, entries = (self.lows, self.at_least) if bound.lower else (self.highs, self.at_most)
        place = bisect.bisect(numbers, bound.number)
        numbers.insert(place, bound.number)
        entries.insert(place, entry)

    def find(self, value: float | None) -> list[Entry]:
        """Return the checks that this value does not rule out; all of them when it is unknown."""
        if value is None:
            return self.at_least + self.at_most
        low = bisect.bisect_right(self.lows, value + _SLACK)
        high = bisect.bisect_left(self.highs, value - _SLACK)
        return self.at_least[:low] + self.at_most[high:]


class Always:
    """The single-item checks of one collection that no key finds: every item meets them, within bounds."""

    __slots__ = ("attribute", "bounds", "checks", "entries", "kind", "tabled")

    def __init__(self, kind: str, attribute: str) -> None:
        self.kind, self.attribute = kind, attribute
        self.checks: list[Check] = []
        self.entries: list[Entry] = []
        self.bounds: dict[str, Bounds] = {}
        self.tabled: list[Check] = []

    def add(self, check: Check) -> None:
        """Add a check."""
        self.checks.append(check)
        entry = (check.number, check.judges, None, check)
        if check.table is not None:
            self.tabled.append(check)
        elif check.bound is None:
            self.entries.append(entry)
        else:
            self.bounds.setdefault(check.bound.field, Bounds(check.bound.field)).add(check.bound, entry)


class Pairs:
    """A two-item check with, where its table is keyed on both items, the partners of each value."""

    __slots__ = ("check", "partners", "rows")

    def __init__(self, check: Check) -> None:
        self.check = check
        self.rows: dict[str, list[Row]] | None = None
        self.partners: dict[str, dict[str, Row | list[Row]]] | None = None
        table, key, partner = check.table, check.key, check.partner
        if table is None or key is None or key.column is None:
            return
        if partner is None or partner.column is None:
            self.rows = {}
            for row in table.rows:
                for value in _values(row[key.column]):
                    self.rows.setdefault(value, []).append(row)
            return
        self.partners = {}
        for row in table.rows:
            for value in _values(row[key.column]):
                others = self.partners.setdefault(value, {})
                for other in _values(row[partner.column]):
                    held = others.get(other)
                    if held is None:
                        others[other] = row
                    elif isinstance(held, list):
                        held.append(row)
                    else:
                        others[other] = [held, row]


def _values(cell: Any) -> Iterable[str]:
    if cell is None:
        return ()
    return cell if isinstance(cell, frozenset) else (cell,)


class Plan:
    """How the checks are found: indexes, checks without a key, pairs, and checks about no item."""

    __slots__ = ("always", "indexes", "needs", "once", "pairs")

    def __init__(self, checks: Iterable[Check]) -> None:
        self.indexes: list[Index] = []
        self.always: list[Always] = []
        self.pairs: list[Pairs] = []
        self.once: list[Check] = []
        by_key: dict[tuple[str, str, str | None], Index] = {}
        by_attribute: dict[str, Always] = {}
        self.needs: dict[tuple[str, str], tuple[Counted, dict[str, list[int]]]] = {}
        for check in checks:
            if (needed := check.needs) is not None:
                _, numbers = self.needs.setdefault(needed.key, (needed, {}))
                numbers.setdefault(needed.text, []).append(check.number)
            if not check.words:
                self.once.append(check)
            elif len(check.words) > 1:
                self.pairs.append(Pairs(check))
            elif check.key is None:
                attribute = check.attributes[0]
                if attribute not in by_attribute:
                    by_attribute[attribute] = Always(check.kinds[0], attribute)
                    self.always.append(by_attribute[attribute])
                by_attribute[attribute].add(check)
            else:
                second = check.second.field if check.second is not None else None
                name = (check.attributes[0], check.key.field, second)
                if name not in by_key:
                    by_key[name] = Index(check.kinds[0], *name, is_set=check.key.is_set)
                    self.indexes.append(by_key[name])
                by_key[name].add(check, check.key)


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
                UNSET if stage in check.rule.stages and check.rule.in_force(on) else CLOSED
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
