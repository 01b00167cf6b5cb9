"""Publish what experts wrote: lint it, run every case, store it under its digest, announce it.

The publisher runs beside the workers (in the supervisor, or at the prompt), so that linting never takes time
from a request. A folder with a fault is written down with all faults; what is in force stays.
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

import sqlalchemy as sa
from watchfiles import watch

from adapters.releases.announcer import Bell
from adapters.releases.bundle import pack, unpack
from adapters.releases.folder import read_folder
from adapters.releases.lead import Lead
from adapters.store import releases as store
from adapters.store.database import StoreError, upgrade
from engine.cases import run_cases
from engine.errors import ReleaseError, RuleError, RuleErrors
from engine.lint import examine
from engine.ports import Clock, Digest
from engine.release import read_release

__all__ = ["Publisher", "examine_folder"]

_LOG = logging.getLogger("ruleward.releases")
_MOST_PROBLEMS = 50
_AGAIN_SECONDS = 1.0
_LOWER_PRIORITY = 10


def examine_folder(root: Path, digest: Digest) -> tuple[str, bytes]:
    """Lint a rules folder and run every case; returns (digest, blob) of the release.

    Raises ``RuleErrors`` with every fault.
    """
    if not root.is_dir():
        raise RuleErrors([RuleError("rules", f"{root} is no folder.", "Set RULEWARD_RULES to one.", "F05")])
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


class Keeper(Protocol):
    """Who keeps the audit log while this runs."""

    def start(self) -> None: ...

    def close(self) -> None: ...


class Publisher:
    """Keep the tables up to date, watch a rules folder and publish every good state of it.

    ``root`` is ``None`` where releases come only through the database: then only the tables are seen to.
    ``keeper`` keeps the audit log from when the tables are there.
    """

    def __init__(
        self,
        root: Path | None,
        engine: sa.Engine,
        bell: Bell,
        digest: Digest,
        clock: Clock,
        keeper: Keeper | None = None,
    ) -> None:
        self._root, self._engine, self._bell, self._digest, self._clock = root, engine, bell, digest, clock
        self._keeper = keeper
        self._keeping = False
        self._lead = Lead(engine)
        self._stop = threading.Event()
        self._refused = ""
        self._prepared = False
        self._thread: threading.Thread | None = None

    def publish(self) -> bool:
        """Publish the folder as it is now; returns whether it is announced. A fault is written down."""
        if self._root is None:
            return False
        try:
            name, blob = examine_folder(self._root, self._digest)
        except RuleErrors as refusal:
            self._refuse(refusal.errors)
            return False
        except Exception as error:  # a fault of ours on what an author wrote must not end the watch
            _LOG.exception("the rules folder cannot be examined")
            what = f"cannot be examined ({type(error).__name__}: {error})."
            self._refuse((RuleError("rules", what, "Take the last change back and report this.", "F00"),))
            return False
        self._refused = ""
        mended = self._store(name, blob)
        latest = store.latest_announcement(self._engine)
        current = latest is not None and latest.release == name
        if current and not mended and store.latest_rejection(self._engine) is None:
            return True
        store.announce(self._engine, name, at=self._clock())
        self._bell.ring()
        _LOG.info("announced release %s", name)
        return True

    def _store(self, name: str, blob: bytes) -> bool:
        """Store a release; returns whether a copy that was altered in the database had to be replaced."""
        if store.put_release(self._engine, name, blob, at=self._clock(), note=f"folder {self._root}"):
            return False
        stored = store.get_release(self._engine, name)
        try:
            unpack(stored.content if stored else b"", name, self._digest)
        except ReleaseError as error:
            _LOG.error("release %s was altered in the database (%s) and is written anew", name, error)
            store.mend_release(self._engine, name, blob)
            return True
        return False

    def _refuse(self, errors: tuple[RuleError, ...]) -> None:
        told = "\n".join(str(error) for error in errors)
        if told == self._refused:
            return
        for error in errors[:_MOST_PROBLEMS]:
            _LOG.error("refused: %s %s", error.check, error)
        problems = tuple(store.Problem(e.where, e.what, e.mend) for e in errors[:_MOST_PROBLEMS])
        store.reject(self._engine, problems, at=self._clock())
        self._refused = told

    def run(self) -> None:
        """Publish now and after every change, until stopped; what is away is asked again."""
        if self._root is None:
            self._insist(self._prepare)
            return
        seen: object = None
        while not self._stop.is_set():
            if not self._root.is_dir():
                self._insist(self._step)  # says so
                self._stop.wait(_AGAIN_SECONDS)
                continue
            # The watch tells of a change at once; comparing what it looks like now finds what a watch may
            # miss: a change before it began, a network file system, a folder that was put in its place.
            for _ in watch(
                self._root, stop_event=self._stop, debounce=50, step=20, rust_timeout=250,
                yield_on_timeout=True,
            ):  # fmt: skip
                looks = _looks(self._root)
                if looks != seen and self._insist(self._step):
                    seen = looks
                if not looks:
                    break

    def start(self) -> None:
        """Run in a thread of its own, which gives way to the workers."""
        self._thread = threading.Thread(target=self._run_humbly, name="release-publisher", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End the watch and let another service publish."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join(2.0)
        if self._keeper is not None and self._keeping:
            self._keeper.close()
        self._lead.give_up()

    def _run_humbly(self) -> None:
        try:  # of this thread alone, on Linux
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _LOWER_PRIORITY)
        except OSError:
            _LOG.debug("the publisher keeps the priority of the process")
        self.run()

    def _step(self) -> None:
        self._prepare()
        waiting = False
        while not self._stop.is_set() and not self._lead.take():
            if not waiting:
                _LOG.warning("another service publishes into this database; this one waits for its end")
            waiting = True
            self._stop.wait(_AGAIN_SECONDS)
        if not self._stop.is_set():
            self.publish()

    def _prepare(self) -> None:
        if not self._prepared:
            upgrade(self._engine)
            self._prepared = True
        if self._keeper is not None and not self._keeping:
            self._keeper.start()
            self._keeping = True

    def _insist(self, act: Callable[[], object]) -> bool:
        """Act until the database takes it; returns ``False`` if stopped before."""
        while not self._stop.is_set():
            try:
                act()
                return True
            except (sa.exc.SQLAlchemyError, OSError) as error:
                _LOG.error("the database does not take the release (%s); trying again", type(error).__name__)
            except StoreError as error:
                _LOG.error("%s", error)
            self._prepared = False  # it may come back as another one
            self._stop.wait(_AGAIN_SECONDS)
        return False


def _looks(root: Path) -> tuple[tuple[str, int, int, int], ...]:
    """Return path, size, time of change and inode of every file below ``root``; empty if it is not there."""
    found = []
    try:
        for path in sorted(root.rglob("*")):
            about = path.lstat()
            found.append((str(path), about.st_size, about.st_mtime_ns, about.st_ino))
    except OSError:  # it changes while we look: the next look will be whole
        return ()
    return tuple(found)
