"""Order-sign over HTTP, ten orders, decision durable before the answer, beside an echo route of the app.

Two workers, one SQLite file (or ``--database-url``). Load comes from ``wrk`` on the same machine; each
request has a ``hookInstance`` of its own. At full rate 16 connections send without pause; at half rate 32
connections rest between requests so that half of the peak comes in, at random moments.

The targets are judged on an ordinary action; one that provokes many findings is told beside it
(``_service_workload.py`` says both). The echo route gets the ordinary body, decodes it and encodes it again.
What encryption, audit log and identity cost is told by the same service without the first two, started
beside it; identity looks at no token here, as in every demo.

    python benchmarks/service.py [--full] [--json FILE] [--strict] [--database-url URL]
"""

from __future__ import annotations

import contextlib
import sys
from pathlib import Path

import httpx
import msgspec

if __name__ == "__main__":  # run as a file, this folder would stand before the package that it measures
    sys.path[0] = str(Path(__file__).resolve().parent.parent)

from benchmarks._report import Result, arguments, finish, table
from benchmarks._service_load import Measured, running_service, wrk
from benchmarks._service_workload import SERVICE, order_sign
from rules import FOLDER

__all__ = ["main"]

_CONNECTIONS = 16
_RESTING = 32
_SHARE = 0.25
_SLOWER = 5.0
_DEARER = 1.4


def _half(base: str, path: str, body: bytes, peak: Measured, seconds: float) -> Measured:
    """Send half of the peak rate."""
    between = _RESTING / (peak.rate / 2) * 1000
    return wrk(
        base, path, body, seconds=seconds, connections=_RESTING, pause_ms=max(1.0, between - peak.p50 / 4)
    )


def _best(runs: list[Measured]) -> Measured:
    return max(runs, key=lambda one: one.rate)


class _Finding(msgspec.Struct):
    rule: str


class _Extension(msgspec.Struct):
    findings: list[_Finding] = msgspec.field(name="com.ruleward.findings", default_factory=list)
    not_checked: list[str] = msgspec.field(name="com.ruleward.notChecked", default_factory=list)


class _Card(msgspec.Struct):
    summary: str
    extension: _Extension


class _Answer(msgspec.Struct):
    cards: list[_Card]


def _tell(kind: str, base: str, body: bytes) -> None:
    """Print what an action is answered with."""
    answer = httpx.post(f"{base}{SERVICE}", content=body, trust_env=False, timeout=30)
    cards = msgspec.json.decode(answer.content, type=_Answer).cards
    findings = sum(len(card.extension.findings) for card in cards)
    print(
        f"{kind}: {len(body)} bytes, answered with {len(answer.content)} bytes: {findings} findings in "
        f"{sum(bool(card.extension.findings) for card in cards)} cards, "
        f"{sum(len(card.extension.not_checked) for card in cards)} checks not made"
    )


def _at_full_rate(
    cases: dict[str, tuple[str, str, bytes]], rounds: int, seconds: float
) -> dict[str, list[Measured]]:
    """Measure each case in turn, so that a busy moment of the machine meets all."""
    runs: dict[str, list[Measured]] = {name: [] for name in cases}
    for base, path, body in cases.values():
        wrk(base, path, body, seconds=2, connections=_CONNECTIONS)  # warm
    for _ in range(rounds):
        for name, (base, path, body) in cases.items():
            runs[name].append(wrk(base, path, body, seconds=seconds, connections=_CONNECTIONS))
    return runs


def main() -> int:
    """Run the benchmark and report."""
    parser = arguments(__doc__)
    parser.add_argument("--rules", type=Path, default=FOLDER, help="the rules folder; the shipped one")
    parser.add_argument("--database-url", default="", help="PostgreSQL instead of an SQLite file")
    options = parser.parse_args()
    seconds, rounds = (10, 5) if options.full else (3, 3)
    body, crowded = order_sign(), order_sign(crowded=True)
    with contextlib.ExitStack() as running:
        base = running.enter_context(running_service(options.rules, database_url=options.database_url))
        bare = running.enter_context(running_service(options.rules, bare=True))
        _tell("ordinary", base, body)
        _tell("crowded", base, crowded)
        full = _at_full_rate(
            {
                "echo": (base, "/echo", body),
                "order-sign": (base, SERVICE, body),
                "order-sign, crowded": (base, SERVICE, crowded),
                "order-sign, neither encrypted nor audited": (bare, SERVICE, body),
            },
            rounds,
            seconds,
        )
        peaks = {name: _best(runs) for name, runs in full.items()}
        half: dict[str, list[Measured]] = {"echo": [], "order-sign": []}
        for _ in range(rounds):
            half["echo"].append(_half(base, "/echo", body, peaks["echo"], seconds))
            half["order-sign"].append(_half(base, SERVICE, body, peaks["order-sign"], seconds))
    calm = {name: min(runs, key=lambda one: one.p99) for name, runs in half.items()}
    table(
        ("load", "requests/s", "p50 ms", "p99 ms", "slowest ms", "failed"),
        [
            (f"{name}, {kind} rate", one.rate, one.p50, one.p99, one.slowest, one.failed)
            for kind, measured in (("full", peaks), ("half", calm))
            for name, one in measured.items()
        ],
    )
    failed = sum(one.failed for runs in (*full.values(), *half.values()) for one in runs)
    return finish(_judged(peaks, calm, failed, options.database_url), options.json, strict=options.strict)


def _judged(
    peaks: dict[str, Measured], calm: dict[str, Measured], failed: int, database_url: str
) -> list[Result]:
    ours, echo, crowded = peaks["order-sign"], peaks["echo"], peaks["order-sign, crowded"]
    bare = peaks["order-sign, neither encrypted nor audited"]
    share, slower = ours.rate / echo.rate, calm["order-sign"].p99 / calm["echo"].p99
    results = [
        Result("service", "order-sign, requests/s", ours.rate, echo.rate, share, ">= 1/4", share >= _SHARE),
        Result(
            "service", "order-sign at half rate, p99 ms", calm["order-sign"].p99, calm["echo"].p99, slower,
            "<= 5 x echo", slower <= _SLOWER,
        ),
        Result(
            "service", "crowded order-sign, requests/s", crowded.rate, echo.rate, crowded.rate / echo.rate,
            "", None,
        ),
        Result("service", "failed requests", float(failed), None, None, "0", failed == 0),
    ]  # fmt: skip
    if not database_url:  # the service beside it has an SQLite file: of another database it would say nothing
        dearer = bare.rate / ours.rate
        results.append(
            Result(
                "service", "encryption and audit, times dearer", ours.rate, bare.rate, dearer,
                "<= 1.4", dearer <= _DEARER,
            )
        )  # fmt: skip
    return results


if __name__ == "__main__":
    sys.exit(main())
