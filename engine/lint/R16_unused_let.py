"""R16: a derived value is used."""

from collections.abc import Iterator

from engine.errors import RuleError
from engine.lint._tree import names
from engine.release import Release

__all__ = ["CODE", "check"]

CODE = "R16"


def check(release: Release) -> Iterator[RuleError]:
    """Yield each word of ``let`` that nothing reads."""
    for rule in release.rules:
        used = names(rule)
        for word, _ in rule.let:
            if word not in used:
                yield RuleError(
                    f"{rule.place}: let.{word}", "is never used.", "Use it or leave it out.", CODE
                )
