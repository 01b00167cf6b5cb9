"""Rules change again and again while order-signs come in at a steady rate: what do requests notice?

One rule file is edited, published, announced and followed by both workers, again and again. ``wrk`` sends at
a third of the peak rate, once in quiet and once during the reloads; a second client looks into every answer
that it gets for words of another release than the one that the answer names.
"""

from __future__ import annotations

import asyncio
import re
import shutil
import sys
import tempfile
import threading
import time
import uuid
from pathlib import Path
from typing import Self

import httpx

if __name__ == "__main__":  # run as a file, this folder would stand before the package that it measures
    sys.path[0] = str(Path(__file__).resolve().parent.parent)

from benchmarks._report import Result, arguments, finish, quantile, table
from benchmarks._service_load import Measured, running_service, wrk
from benchmarks._service_workload import PLACE, SERVICE, order_sign
from rules import FOLDER

__all__ = ["main"]

_EDITED = "drug_interaction/warfarin_nsaid/rule.yaml"
_MESSAGE = re.compile(r'(message:\s*\{?\s*zh: *"?)(?:【\d+】)?')
_NUMBER = re.compile(r"【\d+】")
_CONNECTIONS = 16
_LONGEST = 0.5
_PEAK_SECONDS = 3


class _Reader:
    """Reads answers one after the other, and notes which words came under which release."""

    def __init__(self, base: str, body: bytes) -> None:
        self._base, self._body = base, body
        self.words: dict[str, set[str]] = {}
        self.failed = 0
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ending.set()
        self._thread.join()

    def _run(self) -> None:
        with httpx.Client(base_url=self._base, trust_env=False, timeout=30) as client:
            while not self._ending.wait(0.02):
                body = self._body.replace(PLACE.encode(), str(uuid.uuid4()).encode())
                answer = client.post(SERVICE, content=body)
                if answer.status_code != 200:
                    self.failed += 1
                    continue
                release = answer.json()["extension"]["com.ruleward.decision"]["release"]
                self.words.setdefault(release, set()).update(_NUMBER.findall(answer.text) or {""})

    @property
    def mixed(self) -> int:
        """Releases under whose name words of another one came."""
        said = [word for words in self.words.values() for word in words]
        return sum(len(words) > 1 for words in self.words.values()) + len(said) - len(set(said))


async def _until_followed(client: httpx.AsyncClient, before: str) -> float:
    """Return the seconds from the announcement until every worker runs it."""
    announced = 0.0
    while True:
        status = (await client.get("/releases/status")).json()
        newest = status["announced"]["release"]
        if newest != before:
            announced = announced or time.monotonic()
            if all(worker["release"] == newest for worker in status["workers"]):
                return time.monotonic() - announced
        await asyncio.sleep(0.01)


async def _reload(base: str, rules: Path, times: int, pause: float) -> list[float]:
    """Edit the rule so many times; return the seconds that each took to be everywhere."""
    took = []
    page = rules / _EDITED
    async with httpx.AsyncClient(base_url=base, trust_env=False, timeout=30) as client:
        for number in range(1, times + 1):
            before = (await client.get("/releases/status")).json()["announced"]["release"]
            text = page.read_text(encoding="utf-8")
            page.write_text(_MESSAGE.sub(rf"\g<1>【{number}】", text), encoding="utf-8")
            took.append(await asyncio.wait_for(_until_followed(client, before), 30))
            await asyncio.sleep(pause)
    return took


def main() -> int:
    """Run the benchmark and report."""
    parser = arguments(__doc__)
    parser.add_argument("--rules", type=Path, default=FOLDER, help="the rules folder; the shipped one")
    options = parser.parse_args()
    times, pause = (100, 0.5) if options.full else (10, 0.5)
    body = order_sign()
    with tempfile.TemporaryDirectory() as place:
        rules = Path(place, "rules")
        shutil.copytree(options.rules, rules)
        with running_service(rules) as base:
            wrk(base, SERVICE, body, seconds=2, connections=_CONNECTIONS)
            peak = wrk(base, SERVICE, body, seconds=_PEAK_SECONDS, connections=_CONNECTIONS)
            rest = _CONNECTIONS / (peak.rate / 3) * 1000
            seconds = max(5.0, times * (pause + 0.6))

            def load() -> Measured:
                return wrk(
                    base, SERVICE, body, seconds=seconds, connections=_CONNECTIONS, pause_ms=max(1.0, rest)
                )

            with _Reader(base, body):
                quiet = load()
            with _Reader(base, body) as reader:
                during: list[Measured] = []
                thread = threading.Thread(target=lambda: during.append(load()))
                thread.start()
                took = sorted(asyncio.run(_reload(base, rules, times, pause)))
                thread.join()
    busy = during[0]
    table(
        ("load", "requests/s", "p50 ms", "p99 ms", "slowest ms", "failed"),
        [
            (name, one.rate, one.p50, one.p99, one.slowest, one.failed)
            for name, one in (("quiet", quiet), (f"{times} reloads", busy))
        ],
    )
    failed, slower = busy.failed + reader.failed, busy.p99 / quiet.p99
    slowest = took[-1] * 1000
    results = [
        Result("reload", "failed requests", float(failed), None, None, "0", failed == 0),
        Result("reload", "answers of two releases", float(reader.mixed), None, None, "0", not reader.mixed),
        Result("reload", "p99 during, ms", busy.p99, quiet.p99, slower, "<= 2 x quiet", slower <= 2.0),
        Result("reload", "all workers follow, median ms", quantile(took, 0.5) * 1000, None, None, "", None),
        Result(
            "reload", "all workers follow, slowest ms", slowest, None, None, "<= 500 ms",
            slowest <= _LONGEST * 1000,
        ),
    ]  # fmt: skip
    return finish(results, options.json, strict=options.strict)


if __name__ == "__main__":
    sys.exit(main())
