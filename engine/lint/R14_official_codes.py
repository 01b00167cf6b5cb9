"""R14: an official code stands for one active rule at a time, since callers ask for rules by it."""

import itertools
from collections import defaultdict
from collections.abc import Iterator

from engine.errors import RuleError
from engine.release import Release
from engine.rule import Rule

__all__ = ["CODE", "check"]

CODE = "R14"


def check(release: Release) -> Iterator[RuleError]:
    """Yield each pair of active rules with one code whose validity overlaps."""
    by_code: dict[str, list[Rule]] = defaultdict(list)
    for rule in release.rules:
        if rule.official_code and rule.status == "active":
            by_code[rule.official_code].append(rule)
    for code, rules in by_code.items():
        for first, second in itertools.combinations(rules, 2):
            if _overlap(first, second):
                yield RuleError(
                    f"{second.place}: official_code",
                    f"is {code}, which {first.id} has on the same days.",
                    "Let one end where the other begins, or leave the code to one of them.",
                    CODE,
                )


def _overlap(first: Rule, second: Rule) -> bool:
    return (second.valid_to is None or first.valid_from < second.valid_to) and (
        first.valid_to is None or second.valid_from < first.valid_to
    )
