"""R13: a parameter has a value on the first day of every rule that uses it."""

from collections.abc import Iterator

from engine.errors import RuleError
from engine.lint._tree import parameters
from engine.release import Release

__all__ = ["CODE", "check"]

CODE = "R13"


def check(release: Release) -> Iterator[RuleError]:
    """Yield each rule that begins before a parameter of it does."""
    for rule in release.rules:
        for name in sorted(parameters(rule)):
            parameter = release.parameters.get(name)
            if parameter is not None and parameter.at(rule.valid_from) is None:
                since = parameter.values[0].since
                yield RuleError(
                    f"{rule.place}: valid_from",
                    f"is {rule.valid_from}, when the parameter {name} has no value yet.",
                    f"Begin on {since} or later, or give the earlier value in rules/parameters/{name}.yaml.",
                    CODE,
                )
