"""Measure and report: medians of repeated rounds, ratios to a peer, and a JSON list of both.

Times are seconds inside and milliseconds in what is printed. The machine may be busy with other work, so
every case is timed in several rounds and the round with the lowest median counts; a single run says little
about p99.
"""

from __future__ import annotations

import argparse
import gc
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

import msgspec

__all__ = ["Result", "Timing", "arguments", "finish", "quantile", "resident_mb", "table", "time_rounds"]

_Input = TypeVar("_Input")
_PAGE = 4096


class Result(msgspec.Struct, frozen=True):
    """One line of the report; ``ratio`` is ours : peer, ``target`` says in words what was to be reached.

    ``met`` is ``None`` where there is no target or it was not measured at its size.
    """

    benchmark: str
    case: str
    ours: float | None
    peer: float | None
    ratio: float | None
    target: str
    met: bool | None


class Timing(msgspec.Struct, frozen=True):
    """Seconds a call: the best round's median and p99, over ``calls`` calls a round."""

    median: float
    p99: float
    calls: int


def quantile(ordered: Sequence[float], share: float) -> float:
    """Return the value below which this share of the ordered values lies."""
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))]


def time_rounds(call: Callable[[_Input], object], inputs: Sequence[_Input], rounds: int) -> Timing:
    """Call with each input in turn, ``rounds`` times over, and return the best round.

    The cyclic collector stays on, as in the service; what was loaded before is frozen out of its sight, as
    the service does after it loads a release.
    """
    clock = time.perf_counter
    best: Timing | None = None
    gc.collect()
    gc.freeze()
    try:
        for _ in range(rounds):
            spent: list[float] = []
            for one in inputs:
                start = clock()
                call(one)
                spent.append(clock() - start)
            spent.sort()
            timing = Timing(quantile(spent, 0.5), quantile(spent, 0.99), len(spent))
            if best is None or timing.median < best.median:
                best = timing
    finally:
        gc.unfreeze()
    if best is None:
        raise ValueError("at least one round is needed")
    return best


def resident_mb() -> float:
    """Return the resident memory of this process in MB (Linux)."""
    return int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1]) * _PAGE / 1e6


def arguments(description: str | None) -> argparse.ArgumentParser:
    """Return a parser with what every benchmark takes."""
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--full", action="store_true", help="the sizes that the targets name")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the results here as a JSON list")
    parser.add_argument("--strict", action="store_true", help="exit 1 when a measured target is missed")
    return parser


def table(heads: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Print rows under their heads, numbers to the right."""
    told = [[_told(cell) for cell in row] for row in rows]
    widths = [max(len(cell) for cell in column) for column in zip(heads, *told, strict=True)]
    for line in (list(heads), *told):
        first, *rest = (
            cell.ljust(width) if i == 0 else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(line, widths, strict=True))
        )
        print("  ".join((first, *rest)).rstrip(), flush=True)


def _told(cell: object) -> str:
    if cell is None:
        return "-"
    return f"{cell:.4g}" if isinstance(cell, float) else str(cell)


def finish(results: Sequence[Result], file: Path | None, *, strict: bool) -> int:
    """Print what was to be reached, write the JSON list, and return the exit code."""
    print()
    words = {True: "met", False: "MISSED", None: "-"}
    table(
        ("case", "ours", "peer", "ratio", "target", ""),
        [(one.case, one.ours, one.peer, one.ratio, one.target or "-", words[one.met]) for one in results],
    )
    if file is not None:
        file.write_bytes(msgspec.json.format(msgspec.json.encode(list(results)), indent=2))
    missed = [one.case for one in results if one.met is False]
    if missed and strict:
        print(f"missed: {', '.join(missed)}", file=sys.stderr)
        return 1
    return 0
