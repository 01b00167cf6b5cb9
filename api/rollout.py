"""Bring releases in force in one worker: fetch, verify, compile, run the cases, swap.

A worker believes nothing: it verifies every digest, compiles, runs the cases, and swaps the whole snapshot by
one assignment; whatever fails leaves the release in force where it is. All of it happens in a thread beside
the requests, in slices with rests between them, so that requests come first.
"""

from __future__ import annotations

import datetime as dt
import gc
import logging
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path

import msgspec
import sqlalchemy as sa

from adapters.releases.announcer import Bell
from adapters.releases.bundle import load_last_good, save_last_good, unpack
from adapters.releases.pace import Pace
from adapters.store import releases as store
from engine.cases import run_cases
from engine.errors import ReleaseError, RuleError, RuleErrors
from engine.ports import Clock, Digest
from engine.release import Release, read_release
from engine.snapshot import Snapshot, build_snapshot

__all__ = ["Follower", "Standing"]

_LOG = logging.getLogger("ruleward.releases")
_HEARTBEAT = 2.0
_MOST_PROBLEMS = 50
_SHARE = 0.25
"""Of one core, while requests are served: the rest of the time is theirs."""


class Standing(msgspec.Struct, frozen=True):
    """How a worker stands: what it runs, since when, and what keeps it from something newer."""

    release: str = ""
    since: dt.datetime | None = None
    seq: int = 0  # of the announcement that was looked at last
    refused: str = ""  # digest of a newer release that this worker refused
    problems: tuple[store.Problem, ...] = ()
    rejection: store.Rejection | None = None  # what the publisher refused
    trouble: str = ""  # why the database cannot be asked
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
        self._release: Release | None = None  # what the snapshot was made of
        self.standing = Standing()
        self.worker = f"{os.uname().nodename}:{os.getpid()}"
        self._closed = threading.Event()
        self._reported = 0.0
        self._looked = (0, "")
        self._thread: threading.Thread | None = None

    def now(self) -> Snapshot | None:
        """Return the snapshot in force; a request reads it once."""
        return self._snapshot

    def start(self, wait_seconds: float) -> None:
        """Load what is in force before anyone is answered, then follow in a thread of its own.

        Waits at most so long for a first announcement. Where none comes, or the database is away, the last
        good release on disk is verified and loaded; without one the worker starts, and is not ready.
        """
        give_up = time.monotonic() + wait_seconds
        self._bell.listen()
        self.look(share=1.0)
        while self._snapshot is None and not self.standing.trouble and time.monotonic() < give_up:
            if self.standing.refused or self.standing.rejection or self._closed.is_set():
                break
            time.sleep(0.05)
            self.look(share=1.0)
        if self._snapshot is None:
            self._from_disk()
        self._thread = threading.Thread(target=self._follow, name="release-follower", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop following and take this worker off the list."""
        self._closed.set()
        self._bell.close()
        if self._thread is not None:
            self._thread.join(5.0)
        try:
            store.forget_worker(self._engine, self.worker)
        except (sa.exc.SQLAlchemyError, OSError):
            _LOG.warning("this worker could not be taken off the list")

    def look(self, *, share: float = _SHARE) -> None:
        """Bring the newest announced release in force, if there is one; never raises.

        ``share`` is how much of the time building may take.
        """
        try:
            latest = store.latest_announcement(self._engine)
            rejection = store.latest_rejection(self._engine)
            if latest is not None and (latest.seq, latest.release) != self._looked:
                self._move(latest, share)
                self._looked = (latest.seq, latest.release)
            self._stand(rejection=rejection, trouble="")
            if time.monotonic() - self._reported > _HEARTBEAT:
                self._report()
        except (sa.exc.SQLAlchemyError, OSError) as error:
            trouble = f"the database does not answer ({type(error).__name__})"
            if not self.standing.trouble:
                _LOG.warning("%s; what is in force stays", trouble)
            self._stand(trouble=trouble)

    def _move(self, latest: store.Announcement, share: float) -> None:
        if latest.release == self.standing.release:
            self._stand(seq=latest.seq, refused="", problems=(), from_disk=False)
        else:
            stored = store.get_release(self._engine, latest.release)
            self._adopt(latest.release, stored.content if stored else b"", latest.seq, share)
        self._reported = 0.0

    def _follow(self) -> None:
        while not self._closed.is_set():
            self._bell.wait(self._poll)
            if not self._closed.is_set():
                try:
                    self.look()
                except Exception:  # whatever it is, tomorrow's release must still arrive
                    _LOG.exception("looking for a release failed")

    def _from_disk(self) -> None:
        try:
            found = load_last_good(self._data)
        except OSError as error:
            _LOG.error("the last good release on disk cannot be read: %s", error)
            return
        if found is not None:
            seq = self.standing.seq
            self._adopt(*found, seq=seq, share=1.0, from_disk=True)

    def _adopt(self, name: str, blob: bytes, seq: int, share: float, *, from_disk: bool = False) -> None:
        """Build a release and swap it in; a fault of any kind leaves the one in force where it is."""
        began = time.perf_counter()
        try:
            release, snapshot = self._build(name, blob, Pace(share))
        except RuleErrors as error:
            problems = tuple(store.Problem(e.where, e.what, e.mend) for e in error.errors[:_MOST_PROBLEMS])
            self._refuse(name, seq, problems)
            return
        except Exception as error:  # an altered release may break what reads it in any way
            mend = "Publish it again: the service with the rules folder writes it anew when it starts."
            what = f"{error}." if isinstance(error, ReleaseError) else f"{type(error).__name__}: {error}."
            place = f"release {name[:80]}" + (" on disk" if from_disk else "")
            self._refuse(name, seq, (store.Problem(place, what[:2000], mend),))
            return
        self._snapshot = snapshot  # the swap: one assignment, whole
        self._release = release
        took = time.perf_counter() - began
        refused, problems = ("", ()) if not from_disk else (self.standing.refused, self.standing.problems)
        self._stand(
            release=name, since=self._clock(), seq=seq, refused=refused, problems=problems,
            from_disk=from_disk, load_seconds=took,
        )  # fmt: skip
        _LOG.info("release %s is in force after %.0f ms", name, took * 1000)
        # What was loaded stays: a full collection need not walk it while a request waits.
        gc.freeze()
        if not from_disk:
            try:
                save_last_good(self._data, name, blob)
            except OSError as error:
                _LOG.error("the last good release could not be kept on disk: %s", error)

    def _refuse(self, name: str, seq: int, problems: tuple[store.Problem, ...]) -> None:
        for one in problems:
            _LOG.error("release %s is refused: %s %s %s", name, one.where, one.what, one.mend)
        _LOG.error("release %s stays in force", self.standing.release or "none")
        self._stand(seq=seq, refused=name, problems=problems)

    def _build(self, name: str, blob: bytes, rest: Callable[[], None]) -> tuple[Release, Snapshot]:
        files = unpack(blob, name, self._digest, rest=rest)
        # What did not change is taken over from the release in force: its digests say so.
        release, faults = read_release(files, self._digest, self._release, rest)
        snapshot, found = build_snapshot(
            name, release.rules, release.tables, release.parameters, self._snapshot, rest
        )
        if faults or found or not release.rules:
            raise RuleErrors([*faults, *found] or [RuleError("rules", "holds no rule.", "", "F05")])
        for rule, case, wrong in run_cases(release, snapshot):
            if wrong is not None:
                place = f"rules/{rule.replace('.', '/')}/cases.yaml: {case.name}"
                raise RuleErrors([RuleError(place, f"{wrong}.", "Mend the rule or the case.", "C02")])
            rest()
        return release, snapshot

    def _stand(self, **changed: object) -> None:
        self.standing = msgspec.structs.replace(self.standing, **changed)

    def _report(self) -> None:
        report = store.WorkerReport(self.worker, os.getpid(), self.standing.release, self._clock())
        store.report_worker(self._engine, report)
        self._reported = time.monotonic()
