"""K12: a column that gives the level of a finding holds levels only."""

from collections.abc import Iterator

from engine.decision import LEVELS
from engine.errors import RuleError
from engine.release import Release
from engine.rule import ColumnName

__all__ = ["CODE", "check"]

CODE = "K12"


def check(release: Release) -> Iterator[RuleError]:
    """Yield each cell of such a column that is no level."""
    levels = [str(level) for level in LEVELS]
    for rule in release.rules:
        if rule.join is None or not isinstance(rule.then.level, ColumnName):
            continue
        head, _, column = rule.then.level.name.partition(".")
        table = release.tables.get(rule.join.table)
        if head != rule.join.word or table is None or column not in table.position:
            continue
        at = table.position[column]
        for number, row in enumerate(table.rows, start=1):
            if row[at] not in levels:
                yield RuleError(
                    f"{table.place}.csv: row {number}, {column}",
                    f"is {row[at] or 'empty'}, but {rule.id} takes its level from it.",
                    f"Write {', '.join(levels[:-1])} or {levels[-1]}.",
                    CODE,
                )
