"""K11: every row can be found by the first column that a rule joins on."""

from collections.abc import Iterator

from engine.errors import RuleError
from engine.release import Release

__all__ = ["CODE", "check"]

CODE = "K11"


def check(release: Release) -> Iterator[RuleError]:
    """Yield each row whose first join column is empty: it would match nothing."""
    joined = sorted(
        {(rule.join.table, rule.join.on[0][0]) for rule in release.rules if rule.join is not None}
    )
    for name, column in joined:
        table = release.tables.get(name)
        if table is None or column not in table.position:
            continue
        at = table.position[column]
        for number, row in enumerate(table.rows, start=1):
            if row[at] is None:
                yield RuleError(
                    f"{table.place}.csv: row {number}, {column}",
                    "is empty, so no rule finds the row.",
                    "Fill the cell, or join first on another column.",
                    CODE,
                )
