"""Write decisions from a process of its own, and say on stdout what was acknowledged.

``writing_process.py URL load``          acknowledge after append; runs until it is killed
``writing_process.py URL boast``         acknowledge before append: what the harness must be able to see
``writing_process.py URL limited BYTES`` load, while no file may grow beyond so many bytes
``writing_process.py URL same N KEY``    append N times under one key, every tenth time three at once
``writing_process.py URL upgrade``       bring the tables up to date

A line with a number on stdin starts so many processes that do it, forked after the imports are over; each
says ``pid N`` first. When all have ended, ``ended`` follows, with how each did.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import os
import resource
import sys
import traceback
import uuid

from adapters.store.database import open_database, upgrade
from adapters.store.decisions import StoredDecisions, writing_connection
from engine.errors import NotRecorded
from engine.ports import Entry

TASKS = 40


def entry(key: str) -> Entry:
    """Make up an entry of about the usual size."""
    identity = str(uuid.uuid4())
    return Entry(
        id=identity,
        key=key,
        request_digest="sm3:request",
        interface="cds-hooks",
        stage="order_sign",
        at=dt.datetime.now(dt.UTC),
        release="sm3:release",
        facts_digest="sm3:facts",
        status="findings",
        findings=1,
        not_checked=0,
        trace=b"t" * 1000,
        answer=identity.encode(),
    )


def say(*words: str) -> None:
    """Write one line at once: no buffer of ours may hold what was acknowledged."""
    os.write(1, (" ".join(words) + "\n").encode())


async def load(log: StoredDecisions, *, boast: bool) -> None:
    """Append for ever from many tasks."""

    async def one_after_another() -> None:
        while True:
            one = entry(f"key-{uuid.uuid4()}")
            if boast:
                say(one.key)
            try:
                await log.append(one)
            except NotRecorded:
                continue
            if not boast:
                say(one.key)

    await asyncio.gather(*(one_after_another() for _ in range(TASKS)))


async def same(log: StoredDecisions, times: int, key: str) -> None:
    """Append under one key and say whose answer came back."""
    done = 0
    while done < times:
        at_once = 3 if done % 10 == 0 else 1
        for recorded in await asyncio.gather(*(log.append(entry(key)) for _ in range(at_once))):
            say("fresh" if recorded.fresh else "again", recorded.answer.decode())
        done += at_once


async def work(url: str, verb: str, *rest: str) -> None:
    """Do what the command line says."""
    engine = open_database(url, patience=5.0)
    if verb == "upgrade":
        upgrade(engine)
        say("upgraded")
        return
    log = StoredDecisions(engine, connect=writing_connection(engine), patience=5.0)
    if verb == "limited":
        resource.setrlimit(resource.RLIMIT_FSIZE, (int(rest[0]), int(rest[0])))
    if verb == "same":
        await same(log, int(rest[0]), rest[1])
        await log.close()
    else:
        await load(log, boast=verb == "boast")


def start(arguments: list[str]) -> int:
    """Fork a process that works, and return its number."""
    pid = os.fork()
    if pid:
        return pid
    say("pid", str(os.getpid()))
    try:
        asyncio.run(work(*arguments))
    except BaseException:
        traceback.print_exc()
        os._exit(1)
    os._exit(0)


def main(arguments: list[str]) -> None:
    """Start processes as stdin asks for them, until it ends."""
    while line := sys.stdin.readline():
        pids = [start(arguments) for _ in range(int(line))]
        codes = [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in pids]
        say("ended", *map(str, codes))


if __name__ == "__main__":
    main(sys.argv[1:])
