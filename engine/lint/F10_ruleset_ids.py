"""F10: a ruleset is called as its folder, and so are its rules."""

from collections.abc import Iterator

from engine.errors import RuleError
from engine.release import Release

__all__ = ["CODE", "check"]

CODE = "F10"


def check(release: Release) -> Iterator[RuleError]:
    """Yield each ruleset whose id is not its folder's name."""
    for folder, ruleset in release.rulesets.items():
        if ruleset.id != folder:
            yield RuleError(f"rules/{folder}/ruleset.yaml: id", f"is {ruleset.id}.", f"Write {folder}.", CODE)
