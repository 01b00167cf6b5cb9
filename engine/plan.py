"""Plan how the checks of a release meet the items of a visit: found by an index, by a bound, or in pairs."""

from __future__ import annotations

import bisect
from collections.abc import Iterable
from typing import Any

from engine.check import Check
from engine.compile.closure import Judge
from engine.compile.scope import ENVIRONMENT, ROW, Counted, Env
from engine.keys import Bound, Key
from engine.knowledge import Row
from engine.operators._operator import EPSILON

__all__ = ["Always", "Bounds", "Entry", "Index", "Pairs", "Plan"]

_SLACK = 4 * EPSILON  # an index may find too much, never too little

Entry = tuple[int, tuple[Judge, ...], Row | None, Check]
"""What an index finds: the check's number and what is to be judged, at hand, then the row and the check."""


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

    __slots__ = ("always", "indexes", "needs", "once", "pairs", "wanted")

    def __init__(self, checks: Iterable[Check]) -> None:
        self.indexes: list[Index] = []
        self.always: list[Always] = []
        self.pairs: list[Pairs] = []
        self.once: list[Check] = []
        by_key: dict[tuple[str, str, str | None], Index] = {}
        by_attribute: dict[str, Always] = {}
        self.needs: dict[tuple[str, str], tuple[Counted, dict[str, list[int]]]] = {}
        self.wanted: frozenset[str] = frozenset()
        for check in checks:
            self.wanted |= check.wanted
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
