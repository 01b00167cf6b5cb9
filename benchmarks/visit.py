"""Time the full check of a 10-order visit against all shipped rules and knowledge of hospital size.

Workload: every rule of ``rules/`` (those of the insurer's stages run at the same stage as the others, so
that one check meets them all) over its own tables with 300 000 generated interaction pairs, 20 000
generated dose rows and 16 000 generated insurance points behind the shipped rows (``_visit_workload.py``).
A visit has ten orders, each with one component and a charge, five diagnoses, an allergy, three laboratory
values, past charges and a past visit; everything the rules ask for is known. Findings come with messages,
citations and trace; how many come out is printed. Loading starts from the canonical bytes of the release.
Timed in process, on one core, with the collector as in the service: what was loaded is frozen.

Visits come in two mixes. *Usual* gives one to three findings a visit, more than the shipped rules give on
public synthetic patients (Synthea, about 6 interruptive findings in 100 orders); *crowded* draws drugs,
doses and charges evenly and gives some 16, since each finding that is put into words has its own price.
The targets are judged on *usual*; the figures of *crowded* stand beside them.

Targets: median ≤ 0.25 ms, p99 ≤ 1 ms; the knowledge adds ≤ 80 MB of resident memory and loads in ≤ 2 s.

    python benchmarks/visit.py [--full] [--profile] [--json FILE] [--strict]

The quick size has a tenth of the rows over a third of the ingredients, so about as many findings come out;
its times are printed but only ``--full`` is held to the targets.
"""

from __future__ import annotations

import argparse
import collections
import cProfile
import gc
import pstats
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

if __name__ == "__main__":  # run as a file, this folder would stand before the package that it measures
    sys.path[0] = str(Path(__file__).resolve().parent.parent)

import msgspec

from adapters.releases.folder import read_folder
from benchmarks._report import Result, arguments, finish, resident_mb, table, time_rounds
from benchmarks._visit_workload import AT, CROWDED, USUAL, Sizes, extend, make_visits
from engine.decision import Decision, Stage
from engine.evaluate import evaluate
from engine.facts import Facts
from engine.release import Release, read_release
from engine.rule import Rule
from engine.snapshot import Snapshot, build_snapshot
from rules import FOLDER

__all__ = ["load", "main"]

_FULL = Sizes(pairs=300_000, doses=20_000, points=16_000, ingredients=1_500)
_QUICK = Sizes(pairs=30_000, doses=2_000, points=1_600, ingredients=475)
_MEDIAN_MS, _P99_MS, _MEMORY_MB, _LOAD_S = 0.25, 1.0, 80.0, 2.0


class Cost(msgspec.Struct):
    """What it takes to load a release: seconds for tables and rules, and MB of resident memory that stay."""

    tables_s: float
    rules_s: float
    memory_mb: float


def load(files: dict[str, bytes]) -> tuple[Snapshot, float, float]:
    """Load a release from canonical bytes; returns it and the seconds for reading and for compiling."""
    start = time.perf_counter()
    release, errors = read_release(files, lambda _: "sm3:0")  # digests are not what is measured here
    read = time.perf_counter()
    snapshot, faults = build_snapshot("benchmark", _at_one_stage(release), release.tables, release.parameters)
    built = time.perf_counter()
    if errors or faults:
        raise ValueError([*errors, *faults][:3])
    return snapshot, read - start, built - read


def _at_one_stage(release: Release) -> list[Rule]:
    return [
        msgspec.structs.replace(rule, stages=tuple({*rule.stages, Stage.ORDER_SIGN}))
        for rule in release.rules
    ]


def _check(snapshot: Snapshot, visit: Facts) -> Decision:
    return evaluate(snapshot, visit, AT, Stage.ORDER_SIGN)


def _cost_elsewhere(files: dict[str, bytes]) -> Cost:
    """Load in a process of its own, as a worker does, so that nothing else counts as its memory."""
    with tempfile.TemporaryDirectory() as folder:
        kept = Path(folder) / "files"
        kept.write_bytes(msgspec.msgpack.encode(files))
        command = [sys.executable, __file__, "--cost", str(kept)]
        said = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return msgspec.json.decode(said, type=Cost)


def _cost(kept: Path) -> Cost:
    """Load three times: the first tells the memory, the quickest the seconds."""
    files = msgspec.msgpack.decode(kept.read_bytes(), type=dict[str, bytes])
    best = Cost(float("inf"), float("inf"), 0.0)
    gc.collect()
    before = resident_mb()
    for number in range(3):
        snapshot, read, built = load(files)
        gc.collect()
        if number == 0:
            best.memory_mb = resident_mb() - before
        del snapshot
        gc.collect()
        if read + built < best.tables_s + best.rules_s:
            best.tables_s, best.rules_s = read, built
    return best


def _told(decisions: Sequence[Decision]) -> None:
    found = sorted(len(decision.findings) for decision in decisions)
    gaps = sum(len(decision.not_checked) for decision in decisions)
    steps = sum(len(finding.trace) for decision in decisions for finding in decision.findings)
    print(
        f"findings a visit: {sum(found) / len(found):.1f} on average, {found[0]} to {found[-1]},"
        f" {steps / max(1, sum(found)):.1f} trace steps each; not checked: {gaps / len(found):.1f}"
    )
    by_rule = collections.Counter(finding.rule for one in decisions for finding in one.findings)
    table(("rule", "a visit"), [(rule, count / len(found)) for rule, count in by_rule.most_common(8)])


def _profiled(snapshot: Snapshot, visits: Sequence[Facts]) -> None:
    profile = cProfile.Profile()
    profile.enable()
    for visit in visits:
        _check(snapshot, visit)
    profile.disable()
    pstats.Stats(profile).sort_stats("tottime").print_stats(25)


def _result(case: str, ours: float, limit: float | None, *, judged: bool) -> Result:
    if limit is None:
        return Result("visit", case, ours, None, None, "", None)
    return Result("visit", case, ours, None, None, f"≤ {limit:g}", ours <= limit if judged else None)


def main(words: Sequence[str] | None = None) -> int:
    """Run the benchmark; returns the exit code."""
    parser = arguments(__doc__)
    parser.add_argument("--profile", action="store_true", help="print where the time goes")
    parser.add_argument("--cost", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args(words)
    if options.cost is not None:
        print(msgspec.json.encode(_cost(options.cost)).decode())
        return 0
    sizes = _FULL if options.full else _QUICK
    shipped, faults = read_folder(FOLDER)
    if faults:
        raise ValueError(faults[:3])
    files = extend(shipped, sizes)
    cost = _cost_elsewhere(files)
    snapshot, _, _ = load(files)
    print(
        f"{snapshot.count} rules, {sizes.pairs} pairs, {sizes.doses} dose rows,"
        f" {sizes.points} insurance points generated"
    )
    measured: list[tuple[str, float, float | None]] = []
    for mix, visits in (
        ("usual", make_visits(snapshot, sizes, 500, USUAL)),
        ("crowded", make_visits(snapshot, sizes, 500, CROWDED)),
    ):
        print(f"\n{mix}")
        _told([_check(snapshot, visit) for visit in visits])
        timing = time_rounds(lambda visit: _check(snapshot, visit), visits, 10 if options.full else 5)
        if options.profile:
            _profiled(snapshot, visits)
        judged = mix == "usual"
        measured += [
            (f"check of a {mix} visit, median ms", timing.median * 1e3, _MEDIAN_MS if judged else None),
            (f"check of a {mix} visit, p99 ms", timing.p99 * 1e3, _P99_MS if judged else None),
        ]
    measured += [
        ("knowledge and rules in memory, MB", cost.memory_mb, _MEMORY_MB),
        ("knowledge and rules loaded, s", cost.tables_s + cost.rules_s, _LOAD_S),
    ]
    results = [_result(case, ours, limit, judged=options.full) for case, ours, limit in measured]
    results.append(Result("visit", "of the load, s for reading tables", cost.tables_s, None, None, "", None))
    return finish(results, options.json, strict=options.strict)


if __name__ == "__main__":
    sys.exit(main())
