"""R10: a rule names the documents that it rests on."""

from collections.abc import Iterator

from engine.errors import RuleError
from engine.release import Release

__all__ = ["CODE", "check"]

CODE = "R10"


def check(release: Release) -> Iterator[RuleError]:
    """Yield each rule without references, and each reference without a title."""
    for rule in release.rules:
        if not rule.references:
            yield RuleError(
                f"{rule.place}: references",
                "are missing.",
                "Name the document; leave read_on out if it was not read.",
                CODE,
            )
        for i, reference in enumerate(rule.references):
            if not reference.title.strip():
                yield RuleError(
                    f"{rule.place}: references[{i}].title", "is empty.", "Name the document.", CODE
                )
