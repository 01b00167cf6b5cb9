"""Hold the indexed evaluation against the plain loop over every binding and every row."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from engine.compile.scope import FIRST, ROW, SECOND
from engine.decision import LEVELS, Decision, Stage
from engine.evaluate import evaluate
from engine.explain import judge_all
from engine.facts import Facts
from engine.snapshot import Snapshot

RANK = {level: rank for rank, level in enumerate(LEVELS)}


def naive(snapshot: Snapshot, facts: Facts, at: Any) -> tuple[set[Any], dict[Any, set[str]]]:
    """Return findings as (rule, subjects, level, row) and open checks as (rule, subjects) -> missing."""
    findings: dict[Any, tuple[int, Any]] = {}
    unknown: dict[Any, set[str]] = {}
    for check in snapshot.checks.values():
        for judgement in judge_all(check, facts, at):
            env = judgement.env
            items = [env[slot] for slot in (FIRST, SECOND) if env[slot] is not None]
            key = (check.rule.id, check.ids([item.id for item in items]))
            if judgement.said:
                rank = RANK[check.level(env)]
                held = findings.get(key)
                if held is None or rank < held[0] or (rank == held[0] and check.comes_before(env, held[1])):
                    findings[key] = (rank, env)
            elif judgement.said is None and not check.shadow:
                unknown.setdefault(key, set()).update(judgement.missing)
    told = {(*key, LEVELS[rank], _cited(snapshot, key[0], env[ROW])) for key, (rank, env) in findings.items()}
    return told, unknown


def _cited(snapshot: Snapshot, rule: str, row: Any) -> str:
    table = snapshot.checks[rule].table
    return str(() if table is None or row is None else (table.cite(row),))


def indexed(snapshot: Snapshot, decision: Decision) -> tuple[set[Any], dict[Any, set[str]]]:
    found = set()
    for finding in (*decision.findings, *decision.shadow):
        check = snapshot.checks[finding.rule]
        ids = check.ids([subject.id for subject in finding.subjects])
        found.add((finding.rule, ids, finding.level, str(finding.rows)))
    unknown = {}
    for gap in decision.not_checked:
        assert gap.fault == ""
        ids = snapshot.checks[gap.rule].ids([subject.id for subject in gap.subjects])
        unknown[gap.rule, ids] = set(gap.missing)
    return found, unknown


@settings(max_examples=400)
@given(data=st.data())
def test_the_index_finds_what_a_plain_loop_finds(world: SimpleNamespace, data: st.DataObject) -> None:
    snapshot = data.draw(world.worlds())
    facts = data.draw(world.facts())
    decision = evaluate(snapshot, facts, world.at, Stage.ORDER_SIGN)
    findings, unknown = indexed(snapshot, decision)
    plain_findings, plain_unknown = naive(snapshot, facts, world.at)
    assert findings == plain_findings
    assert unknown.keys() == plain_unknown.keys()
    for key, missing in unknown.items():
        assert missing, "a check that could not run says what it needs"
        assert missing <= plain_unknown[key]


@settings(max_examples=100)
@given(data=st.data())
def test_the_same_facts_give_the_same_decision(world: SimpleNamespace, data: st.DataObject) -> None:
    snapshot = data.draw(world.worlds())
    facts = data.draw(world.facts())
    first = evaluate(snapshot, facts, world.at, Stage.ORDER_SIGN)
    assert evaluate(snapshot, facts, world.at, Stage.ORDER_SIGN) == first


@settings(max_examples=150)
@given(data=st.data())
def test_passed_means_that_every_required_check_ran_to_an_answer(
    world: SimpleNamespace, data: st.DataObject
) -> None:
    snapshot = data.draw(world.worlds())
    facts = data.draw(world.facts())
    decision = evaluate(snapshot, facts, world.at, Stage.ORDER_SIGN)
    findings, unknown = naive(snapshot, facts, world.at)
    assert decision.ran.isdisjoint({rule for rule, _ in unknown})
    if decision.status == "passed":
        assert decision.required == decision.ran != frozenset()
        assert not unknown
        assert not {rule for rule, *_ in findings} & decision.required
