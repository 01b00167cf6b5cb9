"""R18: a pattern can be read."""

from collections.abc import Iterator

import re2

from engine.errors import RuleError
from engine.lint._tree import leaves, trees
from engine.release import Release
from engine.rule import Constant

__all__ = ["CODE", "check"]

CODE = "R18"


def check(release: Release) -> Iterator[RuleError]:
    """Yield each pattern that RE2 refuses."""
    for rule in release.rules:
        for tree in trees(rule):
            for leaf in leaves(tree):
                if leaf.operator != "matches_regex" or not isinstance(leaf.value, Constant):
                    continue
                try:
                    re2.compile(leaf.value.value)
                except (re2.error, TypeError) as error:
                    yield RuleError(
                        f"{rule.place}: {leaf.path}.value",
                        f"is {leaf.value.value!r}, no pattern ({error}).",
                        "Write an RE2 pattern: no look-around, no back-references.",
                        CODE,
                    )
