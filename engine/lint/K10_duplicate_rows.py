"""K10: no two rows of a table say something about the same thing."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from typing import Any

from engine.errors import RuleError
from engine.knowledge import Table, shown
from engine.lint._tree import condition_names
from engine.release import Release

__all__ = ["CODE", "check"]

CODE = "K10"

_PROVENANCE = frozenset({"source", "evidence", "read_on"})
_VALIDITY = ("valid_from", "valid_to")


def check(release: Release) -> Iterator[RuleError]:
    """Yield each row that no rule can tell from an earlier one: same keys, dates and compared cells."""
    compared: dict[str, set[str]] = defaultdict(set)
    for rule in release.rules:
        if rule.join is not None:
            heads = (name.partition(".") for name in condition_names(rule))
            compared[rule.join.table] |= {word for head, _, word in heads if head == rule.join.word}
            compared[rule.join.table] |= {column for column, _ in rule.join.on}
    for name, table in release.tables.items():
        columns = compared.get(name)
        if columns is None:
            columns = set(table.names) - _PROVENANCE
        yield from _duplicates(table, [*table.header.key, *columns, *_VALIDITY])


def _duplicates(table: Table, columns: list[str]) -> Iterator[RuleError]:
    at = [table.position[name] for name in dict.fromkeys(columns) if name in table.position]
    keys = [table.position[name] for name in table.header.key]
    first: dict[tuple[Any, ...], int] = {}
    for number, row in enumerate(table.rows, start=1):
        if any(row[key] is None for key in keys):
            continue
        held = first.setdefault(tuple([row[column] for column in at]), number)
        if held != number:
            said = ", ".join(f"{table.names[key]} = {shown(row[key])}" for key in keys)
            yield RuleError(
                f"{table.place}.csv: row {number}",
                f"says again what row {held} says of {said}.",
                "Keep one, or give them dates that do not overlap.",
                CODE,
            )
