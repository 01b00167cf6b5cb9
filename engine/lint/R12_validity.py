"""R12: a rule ends after it begins."""

from collections.abc import Iterator

from engine.errors import RuleError
from engine.release import Release

__all__ = ["CODE", "check"]

CODE = "R12"


def check(release: Release) -> Iterator[RuleError]:
    """Yield each rule that is in force on no day."""
    for rule in release.rules:
        if rule.valid_to is not None and rule.valid_to <= rule.valid_from:
            yield RuleError(
                f"{rule.place}: valid_to",
                f"is {rule.valid_to}, but the rule holds from {rule.valid_from}.",
                "Write a later day; valid_to itself is no longer covered.",
                CODE,
            )
