"""Run the cases that stand beside a rule: facts in plain words and what the rule must say about them."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Iterator
from decimal import Decimal
from typing import Any, Literal

import msgspec

from engine.decision import Certainty, Decision, Finding, Level
from engine.drugs import Dictionary
from engine.errors import RuleError
from engine.evaluate import evaluate
from engine.facts import COLLECTIONS, SINGLES, Facts
from engine.release import Release
from engine.rule import Rule
from engine.snapshot import Snapshot, build_snapshot
from engine.vocabulary import Type, words_of

__all__ = ["Case", "Expected", "facts_of", "read_cases", "run_case", "run_cases"]

_HOUR = 10


class Expected(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a finding must be; what is left out is not compared."""

    level: Level | None = None
    subjects: tuple[str, ...] | None = None
    amount: Decimal | None = None
    certainty: Certainty | None = None
    row: dict[str, Any] | None = None


class Case(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One case; ``missing`` lists names that a *not checked* must name."""

    name: str
    expect: Literal["fires", "silent", "not_checked"]
    on: dt.date
    facts: dict[str, Any]
    finding: Expected | None = None
    missing: tuple[str, ...] = ()


def read_cases(raw: Any, place: str) -> tuple[list[Case], list[RuleError]]:
    """Read a list of cases; returns those that could be read, and every fault."""
    cases: list[Case] = []
    errors: list[RuleError] = []
    if not isinstance(raw, list):
        return [], [RuleError(place, "is no list of cases.", "Start each case with `- name:`.", "C01")]
    for i, one in enumerate(raw):
        try:
            cases.append(msgspec.convert(one, Case, strict=False))
        except msgspec.ValidationError as error:
            what, _, path = str(error).partition(" - at ")
            where = f"{place}: [{i}]{path.strip('`').removeprefix('$')}"
            errors.append(RuleError(where, f"{what}.", "See a case beside it that works.", "C01"))
    return cases, errors


def facts_of(raw: dict[str, Any], drugs: Dictionary) -> Facts:
    """Return the facts of a case: a ``drug:`` is resolved by the dictionary, a day stands for its midnight.

    Raises ``ValueError`` with the path of what cannot be read.
    """
    stated = dict(raw)
    for name in ("medications", "components", "allergies"):
        items = stated.get(name)
        if isinstance(items, list):
            stated[name] = [_resolved(name, item, drugs) for item in items]
    return msgspec.convert(_with_moments(stated), Facts, strict=False)


_MOMENTS = frozenset(
    word.field
    for kind in (*SINGLES, *COLLECTIONS)
    for word in words_of(kind).values()
    if word.type is Type.MOMENT
)
_DAY_LENGTH = len("2026-03-01")


def _with_moments(stated: Any) -> Any:
    """Write days given for moments as midnights."""
    if isinstance(stated, list):
        return [_with_moments(one) for one in stated]
    if not isinstance(stated, dict):
        return stated
    return {
        key: f"{value}T00:00:00"
        if key in _MOMENTS and isinstance(value, str) and len(value) == _DAY_LENGTH
        else _with_moments(value)
        for key, value in stated.items()
    }


def _resolved(collection: str, item: Any, drugs: Dictionary) -> Any:
    if not isinstance(item, dict) or "drug" not in item:
        return item
    stated = {key: value for key, value in item.items() if key != "drug"}
    name = str(item["drug"])
    stated.setdefault("name", name)
    if collection == "allergies":
        agents = drugs.allergen((), name)
        return {**stated, "agents": sorted(agents)} if agents is not None else stated
    drug = drugs.resolve((), name)
    if drug is None:
        return stated
    stated.setdefault("agents", sorted(drug.agents))
    if collection == "medications":
        stated.setdefault("ingredients", sorted(drug.ingredients))
    elif len(drug.ingredients) == 1:
        stated.setdefault("ingredient", next(iter(drug.ingredients)))
    return stated


def run_case(case: Case, rule: Rule, snapshot: Snapshot) -> str | None:
    """Run one case; returns ``None`` when it holds, else what came out instead."""
    facts = facts_of(case.facts, snapshot.drugs)
    at = dt.datetime.combine(case.on, dt.time(_HOUR))
    decision = evaluate(snapshot, facts, at, rule.stages[0], frozenset({rule.id}))
    got = "fires" if decision.findings else "not_checked" if decision.not_checked else "silent"
    if got != case.expect:
        return f"expects {case.expect}, got {got}{_detail(decision)}"
    if case.finding is not None and not any(_fits(found, case.finding) for found in decision.findings):
        said = [
            (str(found.level), [s.id for s in found.subjects], str(found.amount))
            for found in decision.findings
        ]
        return f"fires, but not as expected: {said}"
    named = {name for gap in decision.not_checked for name in gap.missing}
    if lacking := set(case.missing) - named:
        return f"does not name {', '.join(sorted(lacking))} as missing (it names {', '.join(sorted(named))})"
    return None


def _detail(decision: Decision) -> str:
    told = [f"{', '.join(gap.missing)}{gap.fault}" for gap in decision.not_checked]
    told += [finding.message.zh for finding in decision.findings]
    return f" ({'; '.join(told)})" if told else ""


def _fits(found: Finding, expected: Expected) -> bool:
    cited = {key: value for row in found.rows for key, value in row.key.items()}
    return (
        (expected.level is None or found.level == expected.level)
        and (expected.subjects is None or {s.id for s in found.subjects} == set(expected.subjects))
        and (expected.amount is None or found.amount == expected.amount)
        and (expected.certainty is None or found.certainty == expected.certainty)
        and (expected.row is None or all(cited.get(key) == value for key, value in expected.row.items()))
    )


def run_cases(
    release: Release, snapshot: Snapshot, only: Iterable[str] | None = None
) -> Iterator[tuple[str, Case, str | None]]:
    """Run the cases of every rule that is not retired, yielding (rule id, case, what is wrong or ``None``).

    Rules that are not active run in a snapshot of their own, as if they were. Yields between cases, so that a
    caller can give way to others.
    """
    wanted = None if only is None else set(only)
    for rule in release.rules:
        if rule.status == "retired" or (wanted is not None and rule.id not in wanted):
            continue
        inside = snapshot
        if rule.status != "active":
            acting = msgspec.structs.replace(rule, status="active")
            inside, _ = build_snapshot(snapshot.release, [acting], release.tables, release.parameters)
        cases, _ = read_cases(release.cases.get(rule.id, []), rule.place)
        for case in cases:
            yield rule.id, case, _guarded(case, rule, inside)


def _guarded(case: Case, rule: Rule, snapshot: Snapshot) -> str | None:
    try:
        return run_case(case, rule, snapshot)
    except ValueError as error:  # msgspec.ValidationError is one
        return f"has facts that cannot be read: {error}"
