"""Start the service for a benchmark, and put load on it with ``wrk``."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import msgspec

from benchmarks._service_workload import PLACE

__all__ = ["Measured", "running_service", "wrk"]

_ROOT = Path(__file__).resolve().parent.parent
_SCRIPT = """\
-- Every request carries a hookInstance of its own: a repeated one would be answered from the decision log.
local file = assert(io.open(os.getenv("BENCH_BODY"), "rb"))
local body = file:read("*a")
file:close()
local place = "@PLACE@"
local at = string.find(body, place, 1, true)
local head, tail = string.sub(body, 1, at - 1), string.sub(body, at + string.len(place))
local mean = tonumber(os.getenv("BENCH_PAUSE"))
local headers = {["Content-Type"] = "application/json"}
local threads, count, own = 0, 0, ""
function setup(thread) thread:set("own_number", threads) threads = threads + 1 end
function init(args)
  math.randomseed(tonumber(os.getenv("BENCH_SEED")) + own_number)
  own = string.format("%08x-%04x-4", math.random(0, 2147483647), own_number)
end
function request()
  count = count + 1
  local instance = string.format("%s%03x-8000-%012x", own, count % 4096, count)
  return wrk.format("POST", os.getenv("BENCH_PATH"), headers, head .. instance .. tail)
end
if mean > 0 then
  function delay() return math.floor(math.random() * 2 * mean + 0.5) end
end
function done(summary, latency, requests)
  local e = summary.errors
  io.write(string.format("RESULT %d %d %f %f %f %d %d\\n", summary.requests, summary.duration,
    latency:percentile(50), latency:percentile(99), latency.max,
    e.connect + e.read + e.write + e.timeout, e.status))
end
"""


class Measured(msgspec.Struct, frozen=True):
    """What one run of load gave: requests/s, milliseconds, and requests that failed."""

    rate: float
    p50: float
    p99: float
    slowest: float
    failed: int
    requests: int


def wrk(
    base: str, path: str, body: bytes, *, seconds: float, connections: int, pause_ms: float = 0.0
) -> Measured:
    """Post ``body`` over and over; ``pause_ms`` is the mean rest of a connection between two requests."""
    program = shutil.which("wrk")
    if program is None:
        raise SystemExit("COULD NOT RUN: wrk is missing. As root: apt-get install wrk")
    with tempfile.TemporaryDirectory() as place:
        script, content = Path(place, "load.lua"), Path(place, "body.json")
        script.write_text(_SCRIPT.replace("@PLACE@", PLACE), encoding="utf-8")
        content.write_bytes(body)
        environment = {
            "BENCH_BODY": str(content), "BENCH_PATH": path, "BENCH_PAUSE": str(pause_ms),
            "BENCH_SEED": str(time.time_ns() % 10**9),
        }  # fmt: skip
        told = subprocess.run(
            [program, "-t1", f"-c{connections}", f"-d{max(1, round(seconds))}s", "-s", str(script), base],
            env=os.environ | environment, capture_output=True, text=True, check=True,
        ).stdout  # fmt: skip
    found = re.search(r"^RESULT (.*)$", told, re.MULTILINE)
    if found is None:
        raise SystemExit(f"wrk said nothing that can be read:\n{told}")
    requests, microseconds, p50, p99, slowest, broken, refused = map(float, found[1].split())
    return Measured(
        requests / (microseconds / 1e6),
        p50 / 1e3,
        p99 / 1e3,
        slowest / 1e3,
        int(broken + refused),
        int(requests),
    )


@contextlib.contextmanager
def running_service(
    rules: Path, *, workers: int = 2, database_url: str = "", bare: bool = False
) -> Iterator[str]:
    """Run the service with its echo route on a free port, on a database of its own; gives its base URL.

    ``bare``: without encryption and audit log, for comparison.
    """
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    base = f"http://127.0.0.1:{port}"
    with tempfile.TemporaryDirectory(prefix="ruleward-bench-") as place:
        environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("RULEWARD_")},
            "RULEWARD_DATA": place,
            "RULEWARD_RULES": str(rules),
            "RULEWARD_DATABASE_URL": database_url,
            "BENCH_BARE": "1" if bare else "",
        }
        with Path(place, "service.log").open("wb") as log:
            service = subprocess.Popen(
                [sys.executable, "-m", "benchmarks._service_app", str(port), str(workers)],
                cwd=_ROOT, env=environment, stdout=log, stderr=log,
            )  # fmt: skip
            try:
                _wait_for(base, service, Path(place, "service.log"), workers)
                yield base
            finally:
                service.terminate()
                service.wait(40)


def _wait_for(base: str, service: subprocess.Popen[bytes], log: Path, workers: int) -> None:
    give_up = time.monotonic() + 60
    while service.poll() is None and time.monotonic() < give_up:
        with contextlib.suppress(httpx.HTTPError):
            ready = httpx.get(f"{base}/ready", trust_env=False, timeout=10).status_code == 200
            status = httpx.get(f"{base}/releases/status", trust_env=False, timeout=10).json()
            if ready and len(status["workers"]) == workers:
                return
        time.sleep(0.1)
    raise SystemExit(f"the service does not get ready:\n{log.read_text()[-3000:]}")
