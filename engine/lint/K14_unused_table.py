"""K14: a table is joined by a rule, or is part of the drug dictionary."""

from collections.abc import Iterator

from engine.errors import RuleError
from engine.release import Release

__all__ = ["CODE", "check"]

CODE = "K14"

_DICTIONARY = "drug_"


def check(release: Release) -> Iterator[RuleError]:
    """Yield each table that no rule joins."""
    joined = {rule.join.table for rule in release.rules if rule.join is not None}
    for name, table in release.tables.items():
        if name not in joined and not name.startswith(_DICTIONARY):
            yield RuleError(
                f"{table.place}.yaml", "is joined by no rule.", "Write the rule, or take the table out.", CODE
            )
