"""Time the engine beside zen-engine's decision table, CLIPS and business-rules on the same rules and visits.

Workload: 100, 1 000 and 10 000 rules (94 % on one item code, 5 % on a category with a diagnosis, 1 %
without equality; 1 to 4 further conditions, 35 % of them an OR of two) over visits of 10 lines;
``_engine_workload.py`` says it in full, ``_engine_peers.py`` how each engine holds it. Each engine answers
with the set of (line, rule) pairs, which is compared with a naive loop for every visit checked. RuleWard
words its findings and keeps its trace; the peers give the pairs alone. zen-engine runs with its content
compiled, its quickest form, and once more with its trace, for comparison. A slow peer gets fewer visits, as
printed.

Target at 10 000 rules: our median at most 1/4 of zen-engine's decision table, and 50 reloads without
growth.

    python benchmarks/engine.py [--full] [--json FILE] [--strict]

The quick size leaves CLIPS and business-rules out at 10 000 rules and reloads 1 000 rules.
"""

from __future__ import annotations

import gc
import sys
import time
from collections.abc import Sequence
from pathlib import Path

if __name__ == "__main__":  # run as a file, this folder would stand before the package that it measures
    sys.path[0] = str(Path(__file__).resolve().parent.parent)

from benchmarks._engine_peers import PEERS, missing_packages, ruleward_snapshot
from benchmarks._engine_workload import RuleSpec, VisitSpec, make_rules, make_visits, naive
from benchmarks._report import Result, Timing, arguments, finish, resident_mb, table, time_rounds

__all__ = ["compare", "grown_mb", "main"]

_OURS, _ZEN = "ruleward", "zen-engine"
_SLOW_MS = 20.0  # an engine slower than this gets a tenth of the visits
_RELOADS, _SETTLE = 50, 10
_GROWTH_MB = 5.0


def compare(
    rules: Sequence[RuleSpec], visits: Sequence[VisitSpec], names: Sequence[str], rounds: int, checked: int
) -> dict[str, tuple[Timing, float, str]]:
    """Load and time each engine: name -> (seconds a visit, seconds to load, correct of checked)."""
    wanted = [naive(rules, visit) for visit in visits[:checked]]
    told: dict[str, tuple[Timing, float, str]] = {}
    for name in names:
        gc.collect()
        start = time.perf_counter()
        loaded = PEERS[name](rules)
        load = time.perf_counter() - start
        prepared = [loaded.prepare(visit) for visit in visits]
        start = time.perf_counter()
        loaded.run(prepared[0])
        loaded.run(prepared[1])
        if (time.perf_counter() - start) / 2 * 1e3 > _SLOW_MS:
            prepared = prepared[: max(2, len(prepared) // 10)]
        right = sum(
            loaded.pairs(loaded.run(one)) == want for one, want in zip(prepared, wanted, strict=False)
        )
        timing = time_rounds(loaded.run, prepared, rounds)
        told[name] = (timing, load, f"{right}/{min(len(prepared), len(wanted))}")
    return told


def grown_mb(rules: Sequence[RuleSpec], reloads: int = _RELOADS, settle: int = _SETTLE) -> float:
    """Return by how many MB the process grew from reload ``settle`` to reload ``reloads``."""
    settled = 0.0
    snapshot = None
    for number in range(1, reloads + 1):
        snapshot = ruleward_snapshot(rules)
        if number == settle:
            gc.collect()
            settled = resident_mb()
    del snapshot
    gc.collect()
    return resident_mb() - settled


def _results(count: int, told: dict[str, tuple[Timing, float, str]]) -> list[Result]:
    ours = told[_OURS][0].median * 1e3
    found = []
    for name, (timing, _, right) in told.items():
        done, _, asked = right.partition("/")
        found.append(
            Result(
                "engine", f"{count} rules, {name}: same pairs as a loop", float(done), float(asked), None,
                "all" if name == _OURS else "", done == asked if name == _OURS else None,
            )
        )  # fmt: skip
        if name == _OURS:
            continue
        peer = timing.median * 1e3
        targeted = name == _ZEN and count == 10_000
        found.append(
            Result(
                "engine", f"{count} rules, median ms beside {name}", ours, peer, ours / peer,
                "ratio ≤ 0.25" if targeted else "", ours / peer <= 0.25 if targeted else None,
            )
        )  # fmt: skip
    return found


def main(words: Sequence[str] | None = None) -> int:
    """Run the comparison; returns the exit code."""
    options = arguments(__doc__).parse_args(words)
    absent = missing_packages()
    for name, package in absent.items():
        print(f"{name} is not installed and left out: pip install {package} (or the extra `bench`)")
    names = [name for name in PEERS if name not in absent]
    results: list[Result] = []
    reloaded = make_rules(10_000 if options.full else 1_000)
    grown = grown_mb(reloaded)
    case = f"{_RELOADS} reloads of {len(reloaded)} rules, growth in MB after the first {_SETTLE}"
    results.append(Result("engine", case, grown, None, None, f"≤ {_GROWTH_MB:g} MB", grown <= _GROWTH_MB))
    for count in (100, 1_000, 10_000):
        large = count == 10_000
        running = [name for name in names if options.full or not large or name in (_OURS, _ZEN)]
        visits = make_visits(200, count)
        checked = 200 if options.full or not large else 20
        told = compare(make_rules(count), visits, running, 5 if options.full else 3, checked)
        print(f"\n{count} rules, visits of 10 lines; times in ms")
        table(
            ("engine", "median", "p99", "load", "ours : it", "correct", "visits"),
            [
                (
                    name, timing.median * 1e3, timing.p99 * 1e3, load * 1e3,
                    told[_OURS][0].median / timing.median, right, timing.calls,
                )
                for name, (timing, load, right) in told.items()
            ],
        )  # fmt: skip
        results += _results(count, told)
    return finish(results, options.json, strict=options.strict)


if __name__ == "__main__":
    sys.exit(main())
