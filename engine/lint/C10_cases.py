"""C10: every rule has a case that fires, one that is silent and one in which a fact is missing."""

from collections.abc import Iterator

from engine.cases import read_cases
from engine.errors import RuleError
from engine.release import Release

__all__ = ["CODE", "check"]

CODE = "C10"

_WANTED = ("fires", "silent", "not_checked")


def check(release: Release) -> Iterator[RuleError]:
    """Yield cases that cannot be read, kinds of case that lack, names given twice, and cases of no rule."""
    for rule in release.rules:
        if rule.status == "retired":
            continue
        place = rule.place.replace("rule.yaml", "cases.yaml")
        if rule.id not in release.cases:
            yield RuleError(place, "is missing.", f"Write cases: {', '.join(_WANTED)}.", CODE)
            continue
        cases, errors = read_cases(release.cases[rule.id], place)
        yield from errors
        lacking = [kind for kind in _WANTED if all(case.expect != kind for case in cases)]
        if lacking and not errors:
            what = f"has no case that expects {' or '.join(lacking)}."
            yield RuleError(place, what, "Add one: a rule is believed by its cases.", CODE)
        names = [case.name for case in cases]
        for name in sorted({name for name in names if names.count(name) > 1}):
            yield RuleError(place, f"names two cases {name!r}.", "Say what each of them shows.", CODE)
    rules = {rule.id for rule in release.rules}
    for rule_id in sorted(release.cases.keys() - rules):
        place = f"rules/{rule_id.replace('.', '/')}/cases.yaml"
        yield RuleError(place, "stands beside no readable rule.", "Mend or add rule.yaml.", CODE)
