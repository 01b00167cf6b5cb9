"""R17: a retired rule says why it was retired."""

from collections.abc import Iterator

from engine.errors import RuleError
from engine.release import Release

__all__ = ["CODE", "check"]

CODE = "R17"


def check(release: Release) -> Iterator[RuleError]:
    """Yield each retired rule without a note."""
    for rule in release.rules:
        if rule.status == "retired" and not rule.note.strip():
            yield RuleError(
                f"{rule.place}: note",
                "is missing from a retired rule.",
                "Say when and why it was retired, and what replaces it.",
                CODE,
            )
