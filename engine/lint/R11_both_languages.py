"""R11: what a rule says, it says in Chinese and in English."""

from collections.abc import Iterator

from engine.errors import RuleError
from engine.lint._tree import words
from engine.release import Release

__all__ = ["CODE", "check"]

CODE = "R11"


def check(release: Release) -> Iterator[RuleError]:
    """Yield each text of a rule that is empty in one language."""
    for rule in release.rules:
        for path, text in words(rule):
            for language, said in (("zh", text.zh), ("en", text.en)):
                if not said.strip():
                    yield RuleError(
                        f"{rule.place}: {path}.{language}", "is empty.", "Say it in both languages.", CODE
                    )
