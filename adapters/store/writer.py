"""Write decisions and feedback on one thread, committing together whatever waits.

A job is answered only after the COMMIT that holds it has succeeded. What an error means for the jobs of
its transaction is the backend's word (``Fault``); what follows from it is decided here, in ``_settle``.
"""

from __future__ import annotations

import asyncio
import logging
import queue
import threading
from collections.abc import Callable, Sequence
from typing import Final

from sqlalchemy import Table
from sqlalchemy.engine.interfaces import DBAPIConnection, DBAPICursor

from adapters.store.audit_ledger import Ledger
from adapters.store.backends import Backend, Fault
from adapters.store.rows import chunks, insert, select_by_key
from adapters.store.sealing import Seal, decision_context, opened
from adapters.store.tables import decision, feedback
from engine.audit import Event
from engine.errors import NotRecorded, ReusedKey, RuleWardError
from engine.ports import Entry, FeedbackEntry, Recorded

__all__ = ["Job", "Writer"]

_LOG: Final = logging.getLogger(__name__)

Outcome = Recorded | RuleWardError | None
_Stored = tuple[str, str, bytes, str]  # id, request digest, answer as it is stored, key that sealed it


class Job:
    """Rows that belong into one transaction, and the future of whoever waits for them."""

    __slots__ = ("entry", "events", "feedback", "future", "loop", "rows")

    def __init__(
        self,
        entry: Entry | None,
        rows: list[tuple[object, ...]],
        loop: asyncio.AbstractEventLoop,
        *,
        feedback: tuple[FeedbackEntry, ...] = (),
        events: tuple[Event, ...] = (),
    ) -> None:
        self.entry = entry  # None for feedback and events
        self.rows = rows
        self.feedback = feedback
        self.events = events  # for the audit log alone
        self.loop = loop
        self.future: asyncio.Future[Recorded | None] = loop.create_future()


class Writer:
    """Own the one connection that writes, and the thread that uses it."""

    def __init__(
        self,
        backend: Backend,
        connect: Callable[[], DBAPIConnection],
        *,
        seal: Seal,
        ledger: Ledger | None,
        capacity: int,
        batch: int,
        patience: float,
        stop: Callable[[str], None],
    ) -> None:
        self.trouble: str | None = None  # why the last transaction failed; None once one has succeeded
        self._backend = backend
        self._connect = connect
        self._seal = seal
        self._ledger = ledger
        self._capacity = capacity
        self._batch = batch
        self._patience = patience
        self._stop = stop
        self._queue: queue.SimpleQueue[Job | None] = queue.SimpleQueue()
        self._connection: DBAPIConnection | None = None
        self._thread: threading.Thread | None = None
        self._starting = threading.Lock()
        self._closed = False
        self._broken = False

    @property
    def waiting(self) -> int:
        """How many jobs wait for their transaction to begin."""
        return self._queue.qsize()

    def put(self, job: Job) -> None:
        """Hand a job over; ``NotRecorded`` at once if the queue is full or closed."""
        if self._broken or self._closed:
            raise NotRecorded(self.trouble or "the decision log is closed")
        if self._queue.qsize() >= self._capacity:
            raise NotRecorded(f"the database does not keep up: {self._capacity} decisions wait for it")
        if self._thread is None:
            self._start()
        self._queue.put(job)

    def close(self, patience: float) -> bool:
        """Write what waits, end the thread and say whether it ended within ``patience`` seconds."""
        with self._starting:
            self._closed = True
            thread = self._thread
        if thread is None:
            return True
        self._queue.put(None)
        thread.join(patience)
        return not thread.is_alive()

    def _start(self) -> None:
        # At the first job, not at construction: a thread does not survive the fork of a worker.
        with self._starting:
            if self._thread is None and not self._closed:
                self._thread = threading.Thread(target=self._serve, name="decision-log", daemon=True)
                self._thread.start()

    def _serve(self) -> None:
        more = True
        while more:
            jobs, more = self._take()
            if jobs:
                _deliver(jobs, self._settle(jobs))
        self._drop()

    def _take(self) -> tuple[list[Job], bool]:
        """Wait for a job and take what has come with it; the flag turns False at the end."""
        job = self._queue.get()
        jobs: list[Job] = []
        while job is not None:
            # Whoever waited has been told that it is not recorded, so it need not be.
            if not job.future.done():
                jobs.append(job)
            if len(jobs) == self._batch:
                return jobs, True
            try:
                job = self._queue.get_nowait()
            except queue.Empty:
                return jobs, True
        return jobs, False

    def _settle(self, jobs: Sequence[Job], *, again: bool = True) -> list[Outcome]:
        """Write ``jobs`` in one transaction, or find out for each what became of it."""
        if self._broken:
            return self._refuse(jobs, self.trouble or "the decision log is broken")
        try:
            if self._connection is None:
                self._connection = self._connect()
                self._backend.prepare(self._connection)
        except Exception as error:
            self._drop()
            return self._refuse(jobs, f"the database cannot be reached: {_reason(error)}")
        try:
            outcomes = self._write(self._connection, jobs)
        except Exception as error:
            return self._recover(jobs, error, again=again)
        self.trouble = None
        return outcomes

    def _recover(self, jobs: Sequence[Job], error: Exception, *, again: bool) -> list[Outcome]:
        """Decide what an error of the transaction means for each of its jobs."""
        fault = self._backend.fault(error)
        if fault is Fault.ROW:
            failure = self._roll_back()
            if failure is None:
                return self._without_the_bad_row(jobs, _reason(error))
            fault = Fault.BROKEN if self._backend.fault(failure) is Fault.BROKEN else Fault.LOST
            error = failure
        reason = _reason(error)
        if fault is Fault.BROKEN:
            # Before anything else is tried on this connection: what it says now cannot be believed.
            self._broken = True
            self.trouble = f"the decision log cannot be written safely: {reason}"
            self._stop(self.trouble)
            return self._refuse(jobs, self.trouble)
        self._drop()
        if fault is not Fault.REFUSED and again:
            # Unknown is not absent. The same insert again waits for a commit still under way, leaves alone
            # the rows that are there, and the read-back tells whose they are.
            return self._settle(jobs, again=False)
        return self._refuse(jobs, reason)

    def _without_the_bad_row(self, jobs: Sequence[Job], reason: str) -> list[Outcome]:
        """Try the halves by themselves, until the row that cannot be stored stands alone."""
        if len(jobs) == 1:
            _LOG.warning("a row of the decision log was refused: %s", reason)
            return [NotRecorded(f"the database refuses this row: {reason}")]
        half = len(jobs) // 2
        return self._settle(jobs[:half]) + self._settle(jobs[half:])

    def _write(self, connection: DBAPIConnection, jobs: Sequence[Job]) -> list[Outcome]:
        """Write ``jobs`` and commit; the outcomes are true once this has returned."""
        cursor = connection.cursor()
        try:
            self._backend.begin(cursor, self._patience)
            # Sorted, so that two processes that write the same keys never wait for each other crosswise.
            entries = [row for job in jobs if job.entry is not None for row in job.rows]
            entries.sort(key=lambda row: str(row[1]))
            reports = [row for job in jobs if job.entry is None for row in job.rows]
            reports.sort(key=lambda row: (str(row[1]), str(row[2]), str(row[3])))
            added = self._insert(cursor, decision, entries)
            noted = self._insert(cursor, feedback, reports)
            stored = {} if len(added) == len(entries) else self._read_back(cursor, entries)
            if self._ledger is not None:
                self._ledger.append(
                    cursor,
                    [event for job in jobs for event in job.events],
                    decisions=_new_decisions(jobs, {row[0] for row in added}),
                    feedback=_new_feedback(jobs, set(noted)),
                )
            cursor.execute("COMMIT", ())
        finally:
            cursor.close()
        return [None if job.entry is None else _answer(job.entry, stored, self._seal) for job in jobs]

    def _insert(
        self, cursor: DBAPICursor, table: Table, rows: list[tuple[object, ...]]
    ) -> list[tuple[object, ...]]:
        """Insert rows and return by what the new ones are known again."""
        added: list[tuple[object, ...]] = []
        for some in chunks(rows):
            values = [value for row in some for value in row]
            cursor.execute(insert(table, len(some), self._backend.mark), values)
            added += cursor.fetchall()
        return added

    def _read_back(self, cursor: DBAPICursor, rows: list[tuple[object, ...]]) -> dict[str, _Stored]:
        """Return what stands under the keys of ``rows``."""
        stored: dict[str, _Stored] = {}
        for some in chunks(rows):
            cursor.execute(select_by_key(len(some), self._backend.mark), [row[1] for row in some])
            for key, identity, digest, answer, seal_key in cursor.fetchall():
                stored[key] = (identity, digest, bytes(answer), seal_key)
        return stored

    def _roll_back(self) -> Exception | None:
        """Roll back; return why that failed, if it did."""
        try:
            if self._connection is not None:
                self._connection.rollback()
        except Exception as error:
            _LOG.warning("the decision log could not roll back: %s", _reason(error))
            return error
        return None

    def _drop(self) -> None:
        """Close the connection, which rolls back; the next transaction makes another."""
        connection, self._connection = self._connection, None
        try:
            if connection is not None:
                connection.close()
        except Exception as error:
            _LOG.debug("closing a failed connection failed too: %s", _reason(error))

    def _refuse(self, jobs: Sequence[Job], reason: str) -> list[Outcome]:
        if self.trouble is None:
            _LOG.error("%d decisions are not recorded: %s", len(jobs), reason)
        self.trouble = reason
        return [NotRecorded(reason) for _ in jobs]


def _new_decisions(jobs: Sequence[Job], added: set[object]) -> list[Entry]:
    """Return the decisions whose rows are new, each once: a retry may stand in the same transaction."""
    by_id = {job.entry.id: job.entry for job in jobs if job.entry is not None and job.entry.id in added}
    return list(by_id.values())


def _new_feedback(jobs: Sequence[Job], added: set[tuple[object, ...]]) -> list[FeedbackEntry]:
    """Return the feedback whose rows are new, each once."""
    found: dict[tuple[object, ...], FeedbackEntry] = {}
    for job in jobs:
        for row, entry in zip(job.rows, job.feedback, strict=False):
            if (row[1], row[2], row[3]) in added:
                found.setdefault((row[1], row[2], row[3]), entry)
    return list(found.values())


def _answer(entry: Entry, stored: dict[str, _Stored], seal: Seal) -> Outcome:
    """Compare what was to be written with what stands there; an empty ``stored`` means that all were new."""
    if not stored:
        return Recorded(entry.id, entry.answer, fresh=True)
    identity, digest, answer, seal_key = stored[entry.key]
    if digest != entry.request_digest:
        return ReusedKey(f"the idempotency key {entry.key} already stands for another request")
    try:
        answer = opened(seal, seal_key, answer, decision_context("answer", identity))
    except RuleWardError as error:
        return NotRecorded(f"the answer that was given before cannot be opened: {error}")
    # The id is the caller's own: ours is ours even if an earlier, unanswered commit had brought it there.
    return Recorded(identity, answer, fresh=identity == entry.id)


def _deliver(jobs: Sequence[Job], outcomes: Sequence[Outcome]) -> None:
    """Wake the waiting tasks, with one call a loop."""
    by_loop: dict[asyncio.AbstractEventLoop, list[tuple[Job, Outcome]]] = {}
    for job, outcome in zip(jobs, outcomes, strict=True):
        by_loop.setdefault(job.loop, []).append((job, outcome))
    for loop, pairs in by_loop.items():
        try:
            loop.call_soon_threadsafe(_resolve, pairs)
        except RuntimeError:
            _LOG.debug("the loop that waited for %d decisions is closed", len(pairs))


def _resolve(pairs: list[tuple[Job, Outcome]]) -> None:
    for job, outcome in pairs:
        if job.future.done():
            continue
        if isinstance(outcome, RuleWardError):
            job.future.set_exception(outcome)
        else:
            job.future.set_result(outcome)


def _reason(error: Exception) -> str:
    """Return the first line of what the driver says; the rest may quote the row."""
    original = getattr(error, "orig", None) or error
    text = str(original).strip().splitlines()
    return text[0] if text else type(original).__name__
