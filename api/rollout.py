"""Bring releases in force: one publisher lints and tests what experts wrote, every worker follows.

The publisher runs beside the workers (in the supervisor, or at the prompt), so that linting never takes time
from a request. A worker believes nothing: it verifies the digests, compiles, runs the cases, and swaps the
whole snapshot by one assignment; whatever fails leaves the release in force where it is.
"""

from __future__ import annotations

import datetime as dt
import logging
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path

import msgspec
import sqlalchemy as sa
from watchfiles import watch

from adapters.releases.announcer import Bell
from adapters.releases.bundle import load_last_good, pack, save_last_good, unpack
from adapters.releases.folder import read_folder
from adapters.store import releases as store
from engine.cases import run_cases
from engine.errors import ReleaseError, RuleError, RuleErrors, RuleWardError
from engine.lint import examine
from engine.ports import Clock, Digest
from engine.release import read_release
from engine.snapshot import Snapshot, build_snapshot

__all__ = ["Follower", "Publisher", "Standing", "examine_folder"]

_LOG = logging.getLogger("ruleward.releases")
_BREATH = 0.0005
_HEARTBEAT = 2.0
_MOST_PROBLEMS = 50


def examine_folder(root: Path, digest: Digest) -> tuple[str, bytes]:
    """Lint a rules folder and run every case; returns (digest, blob) of the release.

    Raises ``RuleErrors`` with every fault.
    """
    files, errors = read_folder(root)
    release, faults = read_release(files, digest)
    snapshot, found = examine(release)
    errors = [*errors, *faults, *found]
    if not release.rules and not errors:
        errors.append(RuleError("rules", "holds no rule.", "A release needs at least one.", "F05"))
    if not errors:
        for rule, case, wrong in run_cases(release, snapshot):
            if wrong is not None:
                place = f"rules/{rule.replace('.', '/')}/cases.yaml"
                errors.append(
                    RuleError(f"{place}: {case.name}", f"{wrong}.", "Mend the rule or the case.", "C02")
                )
    if errors:
        raise RuleErrors(errors)
    return pack(files, digest)


class Publisher:
    """Watch a rules folder and publish every good state of it."""

    def __init__(self, root: Path, engine: sa.Engine, bell: Bell, digest: Digest, clock: Clock) -> None:
        self._root, self._engine, self._bell, self._digest, self._clock = root, engine, bell, digest, clock
        self._stop = threading.Event()
        self._refused = ""

    def publish(self) -> bool:
        """Publish the folder as it is now; returns whether it is announced. A fault is written down."""
        try:
            name, blob = examine_folder(self._root, self._digest)
        except RuleErrors as refusal:
            self._refuse(refusal)
            return False
        self._refused = ""
        latest = store.latest_announcement(self._engine)
        if latest is not None and latest.release == name and store.latest_rejection(self._engine) is None:
            return True
        store.put_release(self._engine, name, blob, at=self._clock(), note=f"folder {self._root.name}")
        store.announce(self._engine, name, at=self._clock())
        self._bell.ring()
        _LOG.info("announced release %s", name)
        return True

    def _refuse(self, refusal: RuleErrors) -> None:
        if str(refusal) == self._refused:
            return
        self._refused = str(refusal)
        for error in refusal.errors[:_MOST_PROBLEMS]:
            _LOG.error("refused: %s %s", error.check, error)
        problems = tuple(store.Problem(e.where, e.what, e.mend) for e in refusal.errors[:_MOST_PROBLEMS])
        store.reject(self._engine, problems, at=self._clock())

    def run(self) -> None:
        """Publish now and after every change, until stopped; a database that is away is asked again."""
        self._try()
        for _ in watch(
            self._root, stop_event=self._stop, debounce=50, step=20, rust_timeout=200, yield_on_timeout=False
        ):
            self._try()

    def start(self) -> None:
        """Run in a thread of its own."""
        threading.Thread(target=self.run, name="release-publisher", daemon=True).start()

    def stop(self) -> None:
        """End the watch."""
        self._stop.set()

    def _try(self) -> None:
        while not self._stop.is_set():
            try:
                self.publish()
                return
            except sa.exc.SQLAlchemyError as error:
                _LOG.error("the database does not take the release (%s); trying again", type(error).__name__)
                self._stop.wait(1.0)


class Standing(msgspec.Struct, frozen=True):
    """How a worker stands: what it runs, since when, and what kept it from something newer."""

    release: str = ""
    since: dt.datetime | None = None
    seq: int = 0
    refused: str = ""
    problem: str = ""
    from_disk: bool = False
    load_seconds: float = 0.0


class Follower:
    """Keep one worker on the newest good release. Fulfils ``api.deciding.InForce``."""

    def __init__(
        self, engine: sa.Engine, bell: Bell, digest: Digest, clock: Clock, data: Path, poll_seconds: float
    ) -> None:
        self._engine, self._bell, self._digest, self._clock = engine, bell, digest, clock
        self._data, self._poll = data, poll_seconds
        self._snapshot: Snapshot | None = None
        self.standing = Standing()
        self.worker = f"{os.uname().nodename}:{os.getpid()}"
        self._closed = threading.Event()
        self._reported = 0.0
        self._tried = 0

    def now(self) -> Snapshot | None:
        """Return the snapshot in force; a request reads it once."""
        return self._snapshot

    def start(self) -> None:
        """Load what is in force, then follow in a thread of its own."""
        self.look()
        if self._snapshot is None:
            self._from_disk()
        self._bell.listen()
        threading.Thread(target=self._follow, name="release-follower", daemon=True).start()

    def close(self) -> None:
        """Stop following and take this worker off the list."""
        self._closed.set()
        self._bell.close()
        try:
            store.forget_worker(self._engine, self.worker)
        except sa.exc.SQLAlchemyError:
            _LOG.warning("this worker could not be taken off the list")

    def look(self) -> None:
        """Bring the newest announced release in force, if there is one; never raises for a bad one."""
        try:
            latest = store.latest_announcement(self._engine)
            if latest is not None and latest.seq > self._tried:
                stored = store.get_release(self._engine, latest.release)
                self._tried = latest.seq
                if latest.release == self.standing.release:
                    self.standing = msgspec.structs.replace(
                        self.standing, seq=latest.seq, refused="", problem=""
                    )
                else:
                    blob = stored.content if stored else b""
                    self._adopt(latest.release, blob, latest.seq, time.sleep)
                self._report()
            elif time.monotonic() - self._reported > _HEARTBEAT:
                self._report()
        except sa.exc.SQLAlchemyError as error:
            _LOG.warning("the database does not tell the release in force (%s)", type(error).__name__)

    def _follow(self) -> None:
        while not self._closed.is_set():
            self._bell.wait(self._poll)
            if not self._closed.is_set():
                self.look()

    def _from_disk(self) -> None:
        found = load_last_good(self._data)
        if found is not None:
            self._adopt(*found, seq=0, rest=time.sleep)
            self.standing = msgspec.structs.replace(self.standing, from_disk=True)

    def _adopt(self, name: str, blob: bytes, seq: int, rest: Callable[[float], None]) -> None:
        began = time.perf_counter()
        try:
            snapshot = self._build(name, blob, rest)
        except RuleWardError as error:
            _LOG.error(
                "release %s is refused, %s stays in force: %s", name, self.standing.release or "none", error
            )
            self.standing = msgspec.structs.replace(self.standing, refused=name, problem=str(error)[:2000])
            return
        self._snapshot = snapshot  # the swap: one assignment, whole
        took = time.perf_counter() - began
        self.standing = Standing(name, self._clock(), seq, load_seconds=took)
        _LOG.info("release %s is in force after %.0f ms", name, took * 1000)
        if seq:
            try:
                save_last_good(self._data, name, blob)
            except OSError as error:
                _LOG.error("the last good release could not be kept on disk: %s", error)

    def _build(self, name: str, blob: bytes, rest: Callable[[float], None]) -> Snapshot:
        files = unpack(blob, name, self._digest)
        release, faults = read_release(files, self._digest)
        snapshot, found = build_snapshot(name, release.rules, release.tables, release.parameters)
        if faults or found or not release.rules:
            raise RuleErrors([*faults, *found] or [RuleError("rules", "holds no rule.", "", "F05")])
        for rule, case, wrong in run_cases(release, snapshot):
            if wrong is not None:
                raise ReleaseError(f"its case {rule}: {case.name} {wrong}")
            rest(_BREATH)  # requests come first
        return snapshot

    def _report(self) -> None:
        store.report_worker(
            self._engine,
            store.WorkerReport(self.worker, os.getpid(), self.standing.release, self._clock()),
        )
        self._reported = time.monotonic()
