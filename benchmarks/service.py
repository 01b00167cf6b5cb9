"""Order-sign over HTTP, ten orders, decision durable before the answer, beside an echo route of the app.

Two workers, one SQLite file (or ``--database-url``). Load comes from ``wrk`` on the same machine; each
request has a ``hookInstance`` of its own. At full rate 16 connections send without pause; at half rate 32
connections rest between requests so that half of the peak comes in, at random moments.
"""

from __future__ import annotations

import sys
from pathlib import Path

from benchmarks._report import Result, arguments, finish, table
from benchmarks._service_load import Measured, running_service, wrk
from benchmarks._service_workload import SERVICE, order_sign
from rules import FOLDER

__all__ = ["main"]

_CONNECTIONS = 16
_RESTING = 32
_SHARE = 0.25
_SLOWER = 5.0


def _half(base: str, path: str, body: bytes, peak: Measured, seconds: float) -> Measured:
    """Send half of the peak rate."""
    between = _RESTING / (peak.rate / 2) * 1000
    return wrk(
        base, path, body, seconds=seconds, connections=_RESTING, pause_ms=max(1.0, between - peak.p50 / 4)
    )


def _best(runs: list[Measured]) -> Measured:
    return max(runs, key=lambda one: one.rate)


def main() -> int:
    """Run the benchmark and report."""
    parser = arguments(__doc__)
    parser.add_argument("--rules", type=Path, default=FOLDER, help="the rules folder; the shipped one")
    parser.add_argument("--database-url", default="", help="PostgreSQL instead of an SQLite file")
    options = parser.parse_args()
    seconds, rounds = (10, 5) if options.full else (3, 3)
    body = order_sign()
    with running_service(options.rules, database_url=options.database_url) as base:
        for path in ("/echo", SERVICE):
            wrk(base, path, body, seconds=2, connections=_CONNECTIONS)  # warm
        full: dict[str, list[Measured]] = {"/echo": [], SERVICE: []}
        half: dict[str, list[Measured]] = {"/echo": [], SERVICE: []}
        for _ in range(rounds):  # in turn, so that a busy moment of the machine meets both
            for path, runs in full.items():
                runs.append(wrk(base, path, body, seconds=seconds, connections=_CONNECTIONS))
        peaks = {path: _best(runs) for path, runs in full.items()}
        for _ in range(rounds):
            for path, runs in half.items():
                runs.append(_half(base, path, body, peaks[path], seconds))
    calm = {path: min(runs, key=lambda one: one.p99) for path, runs in half.items()}
    table(
        ("load", "requests/s", "p50 ms", "p99 ms", "slowest ms", "failed"),
        [
            (f"{path} {kind}", one.rate, one.p50, one.p99, one.slowest, one.failed)
            for kind, measured in (("full", peaks), ("half", calm))
            for path, one in measured.items()
        ],
    )
    ours, echo = peaks[SERVICE], peaks["/echo"]
    share, slower = ours.rate / echo.rate, calm[SERVICE].p99 / calm["/echo"].p99
    failed = sum(one.failed for runs in (*full.values(), *half.values()) for one in runs)
    results = [
        Result("service", "order-sign, requests/s", ours.rate, echo.rate, share, ">= 1/4", share >= _SHARE),
        Result(
            "service", "order-sign at half rate, p99 ms", calm[SERVICE].p99, calm["/echo"].p99, slower,
            "<= 5 x echo", slower <= _SLOWER,
        ),
        Result("service", "failed requests", float(failed), None, None, "0", failed == 0),
    ]  # fmt: skip
    return finish(results, options.json, strict=options.strict)


if __name__ == "__main__":
    sys.exit(main())
