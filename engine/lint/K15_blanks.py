"""K15: no text that rules join on begins or ends with a blank, which nobody sees and nothing matches."""

from collections.abc import Iterator

from engine.errors import RuleError
from engine.release import Release

__all__ = ["CODE", "check"]

CODE = "K15"


def check(release: Release) -> Iterator[RuleError]:
    """Yield each such cell of a key column."""
    for table in release.tables.values():
        for column in table.header.key:
            at = table.position[column]
            for number, row in enumerate(table.rows, start=1):
                if isinstance(row[at], str) and row[at] != row[at].strip():
                    yield RuleError(
                        f"{table.place}.csv: row {number}, {column}",
                        f"is {row[at]!r}, with a blank at its end.",
                        "Take the blank away.",
                        CODE,
                    )
