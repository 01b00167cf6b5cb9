"""K13: what a table calls a drug or a class, the drug dictionary knows."""

from __future__ import annotations

import difflib
from collections.abc import Iterator

from engine.errors import RuleError
from engine.release import Release

__all__ = ["CODE", "check"]

CODE = "K13"

_DRUG_WORDS = ("ingredient", "ingredients", "agents")


def check(release: Release) -> Iterator[RuleError]:
    """Yield each agent, in a column joined to ingredients or classes, that the dictionary lacks.

    Says nothing while no dictionary is loaded.
    """
    known = _known(release)
    if not known:
        return
    seen: set[tuple[str, str]] = set()
    for rule in release.rules:
        if rule.join is None or rule.join.table not in release.tables:
            continue
        for column, name in rule.join.on:
            if name.name.partition(".")[2] in _DRUG_WORDS and (rule.join.table, column) not in seen:
                seen.add((rule.join.table, column))
                yield from _unknown(release, rule.join.table, column, known)


def _known(release: Release) -> frozenset[str]:
    known: set[str] = set()
    for name, column in (("drug_ingredients", "ingredient"), ("drug_classes", "class")):
        table = release.tables.get(name)
        if table is not None and column in table.position:
            known |= {row[table.position[column]] for row in table.rows}
    return frozenset(known)


def _unknown(release: Release, name: str, column: str, known: frozenset[str]) -> Iterator[RuleError]:
    table = release.tables[name]
    if column not in table.position:
        return
    at = table.position[column]
    for number, row in enumerate(table.rows, start=1):
        cell = row[at]
        for agent in sorted(cell) if isinstance(cell, frozenset) else [cell]:
            if agent is not None and agent not in known:
                near = difflib.get_close_matches(agent, known, n=2)
                yield RuleError(
                    f"{table.place}.csv: row {number}, {column}",
                    f"is {agent}, which the drug dictionary does not know.",
                    f"Write {' or '.join(near)}." if near else "Add it to drug_ingredients or drug_classes.",
                    CODE,
                )
