"""Every way in which RuleWard says no.

RuleWardError
├── RuleError          what an expert wrote is wrong: where, what, how to mend it
│   └── RuleErrors     all such faults of one release at once
├── FactsError         what a caller stated cannot be read: the path of the fault
├── ReleaseError       a release is refused: unsigned, altered, older or broken
├── NotRecorded        a decision could not be written to the decision log
├── ReusedKey          an idempotency key came back with another request
└── NotReady           no release is in force yet
"""

from __future__ import annotations

from collections.abc import Iterable

__all__ = [
    "FactsError",
    "NotReady",
    "NotRecorded",
    "ReleaseError",
    "ReusedKey",
    "RuleError",
    "RuleErrors",
    "RuleWardError",
]


class RuleWardError(Exception):
    """The root of all of them."""


class RuleError(RuleWardError):
    """One fault in what an expert wrote.

    ``where`` is a path with the place inside the file (``rules/…/rule.yaml: then.level``), ``what`` says
    what is wrong, ``mend`` says what to write instead, ``check`` names the lint check that found it.
    """

    def __init__(self, where: str, what: str, mend: str = "", check: str = "") -> None:
        super().__init__(f"{where} {what} {mend}".strip())
        self.where, self.what, self.mend, self.check = where, what, mend, check


class RuleErrors(RuleWardError):
    """All faults of a set of rules, so that an author mends them in one go."""

    def __init__(self, errors: Iterable[RuleError]) -> None:
        self.errors = tuple(errors)
        super().__init__("\n".join(str(error) for error in self.errors))


class FactsError(RuleWardError):
    """What a caller stated cannot be read; ``path`` points at the fault (``$.medications[0].route``)."""

    def __init__(self, path: str, what: str) -> None:
        super().__init__(f"{path}: {what}")
        self.path, self.what = path, what


class ReleaseError(RuleWardError):
    """A release that may not get in force."""


class NotRecorded(RuleWardError):
    """A decision that is not in the decision log, so that its answer must say so."""


class ReusedKey(RuleWardError):
    """An idempotency key that already stands for another request."""


class NotReady(RuleWardError):
    """No release is in force yet."""
