"""The benchmarks check what they time; nothing here looks at a time."""

from __future__ import annotations

from pathlib import Path

import msgspec

from adapters.releases.folder import read_folder
from benchmarks._engine_peers import PEERS, missing_packages
from benchmarks._engine_workload import make_rules, make_visits, naive
from benchmarks._report import Result, finish
from benchmarks._visit_workload import AT, CROWDED, USUAL, Sizes, extend
from benchmarks._visit_workload import make_visits as make_full_visits
from benchmarks.visit import load
from engine.decision import Stage
from engine.evaluate import evaluate
from rules import FOLDER

_TINY = Sizes(pairs=60, doses=40, points=40, ingredients=20)


def test_every_engine_at_hand_finds_what_a_plain_loop_finds() -> None:
    rules, visits = make_rules(300), make_visits(12, 300)
    wanted = [naive(rules, visit) for visit in visits]
    assert any(wanted)
    for name, peer in PEERS.items():
        if name in missing_packages():
            continue
        loaded = peer(rules)
        assert [loaded.pairs(loaded.run(loaded.prepare(visit))) for visit in visits] == wanted, name


def test_the_visits_are_checked_by_every_shipped_rule_on_generated_knowledge() -> None:
    files, _ = read_folder(FOLDER)
    snapshot, _, _ = load(extend(files, _TINY))
    decisions = [
        evaluate(snapshot, visit, AT, Stage.ORDER_SIGN) for visit in make_full_visits(snapshot, _TINY, 5)
    ]
    assert all(decision.required == snapshot.checks.keys() for decision in decisions)
    assert {row.table for decision in decisions for found in decision.findings for row in found.rows} >= {
        "interaction_pairs"
    }


def test_usual_visits_find_something_and_crowded_ones_far_more() -> None:
    files, _ = read_folder(FOLDER)
    sizes = Sizes(pairs=600, doses=200, points=200, ingredients=60)
    snapshot, _, _ = load(extend(files, sizes))
    usual, crowded = (
        sum(
            len(evaluate(snapshot, visit, AT, Stage.ORDER_SIGN).findings)
            for visit in make_full_visits(snapshot, sizes, 30, mix)
        )
        for mix in (USUAL, CROWDED)
    )
    assert 0 < 2 * usual < crowded


def test_results_are_written_as_a_list_and_a_missed_target_counts_when_asked(tmp_path: Path) -> None:
    results = [
        Result("engine", "a", 1.0, 2.0, 0.5, "ratio ≤ 0.25", False),
        Result("engine", "b", 1.0, None, None, "", None),
    ]
    file = tmp_path / "results.json"
    assert finish(results, file, strict=False) == 0
    assert finish(results, file, strict=True) == 1
    assert msgspec.json.decode(file.read_bytes(), type=list[Result]) == results
