"""Keep the audit log: verify what is new, sign its head, send the head to the witness, watch the clock."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence
from pathlib import Path

import sqlalchemy as sa

from adapters.store.audit_ledger import Ledger
from adapters.store.audit_reading import heads, latest_head, links, reading, sign_head, standing
from adapters.store.sealing import Seal
from api.auditing import ClockWatch, read_witness, write_witness
from engine.audit import Kind, Result, SignedHead, event, head_content
from engine.audit_verify import Fault, Report, Standing, Wrong, verify
from engine.errors import RuleWardError
from engine.ports import Clock, Digest, Signer

__all__ = ["AuditKeeper", "verify_all"]

_LOG = logging.getLogger("ruleward.audit")
_TOLD = 20


class AuditKeeper:
    """Run in one process of a site, the one that publishes; several at once do no harm.

    Nothing is signed that was not verified since the head before, so that a signature never covers up what
    somebody did to the entries meanwhile. ``chores`` are done once a round too.
    """

    def __init__(  # noqa: PLR0913 - each is another part that it joins
        self,
        engine: sa.Engine,
        ledger: Ledger,
        signer: Signer,
        seal: Seal,
        digest: Digest,
        clock: Clock,
        watch: ClockWatch,
        witness: Path | None,
        *,
        seconds: float = 60.0,
        chores: Sequence[Callable[[], None]] = (),
    ) -> None:
        self._engine, self._ledger, self._signer, self._seal = engine, ledger, signer, seal
        self._digest, self._clock, self._watch = digest, clock, watch
        self._witness, self._seconds, self._chores = witness, seconds, chores
        self.trouble: str | None = None
        self._troubles: list[str] = []
        self._accused: Fault | None = None
        self._told: SignedHead | None = None
        self._closed = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Keep the log in a thread of its own."""
        self._thread = threading.Thread(target=self._keep, name="audit-keeper", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Sign once more and end."""
        self._closed.set()
        if self._thread is not None:
            self._thread.join(10.0)
        self.round()

    def round(self) -> SignedHead | None:
        """Do all that is due once; never raises. Returns the head that was signed, if one was."""
        signed: SignedHead | None = None
        self._troubles = []
        try:
            self._note_the_clock()
            signed = self._sign()
            self._tell_the_witness()
            for chore in self._chores:
                chore()
        except (sa.exc.SQLAlchemyError, OSError, RuleWardError) as error:
            self._in_trouble(f"the audit log cannot be kept ({type(error).__name__})")
        self.trouble = "; ".join(self._troubles) or None
        return signed

    def _keep(self) -> None:
        while not self._closed.wait(self._seconds):
            self.round()

    def _note_the_clock(self) -> None:
        jump = self._watch.look()
        if jump:
            _LOG.warning("the clock has jumped by %.1f s", jump)
            detail: dict[str, str | int] = {"seconds": round(jump)}
            noted = event(
                Kind.CLOCK_JUMP, at=self._clock(), who="system", result=Result.FAILURE, detail=detail
            )
            self._ledger.record(self._engine, noted)

    def _sign(self) -> SignedHead | None:
        with reading(self._engine) as connection:
            now, before = standing(connection, self._seal), latest_head(connection)
            if before is not None and before.head.index == now.index:
                return None
            if now.index == 0:
                return None
            faults = self._since(connection, now, before)
        if faults:
            self._accuse(now, faults)
            return None
        return sign_head(self._engine, self._signer, self._digest, self._clock(), now, before)

    def _since(
        self, connection: sa.Connection, now: Standing, before: SignedHead | None
    ) -> tuple[Fault, ...]:
        """Verify from the entry that the head before covers to the end."""
        found = links(connection, after=before.head.index if before else 0)
        report = verify(found, now, (), (), digest=self._digest, genuine=self._genuine, begin=before)
        return report.faults

    def _genuine(self, one: SignedHead) -> bool:
        return self._signer.verify(head_content(one.head), one.key_id, one.signature)

    def _accuse(self, now: Standing, faults: tuple[Fault, ...]) -> None:
        """Say in the log itself, once for each fault, that it was tampered with."""
        self._in_trouble(f"the audit log was tampered with: {faults[0].what}")
        if faults[0] == self._accused:
            return
        self._accused = faults[0]
        for fault in faults[:_TOLD]:
            _LOG.critical("audit log: %s", fault.what)
        detail: dict[str, str | int] = {"index": faults[0].first, "to": now.index, "count": len(faults)}
        noted = event(Kind.CHAIN_BROKEN, at=self._clock(), who="system", result=Result.FAILURE, detail=detail)
        self._ledger.record(self._engine, noted)

    def _tell_the_witness(self) -> None:
        """Bring the witness every head that it lacks, also those of a time when it could not be reached.

        What it holds already must be what we hold, or an older state of the database came back.
        """
        if self._witness is None:
            return
        if self._told is None or not self._witness.exists():
            known = read_witness(self._witness) if self._witness.exists() else []
            self._told = known[-1] if known else None
        last = self._told.head.number if self._told else 0
        with reading(self._engine) as connection:
            ours = heads(connection, after=max(0, last - 1))
            now = standing(connection, self._seal)
        if self._told is not None and (not ours or ours[0].head != self._told.head):
            covered = self._told.head.index
            what = f"the witness holds head {last} over {covered} entries, this database does not"
            self._accuse(now, (Fault(covered, covered, Wrong.ROLLED_BACK, what),))
            return
        lacking = [one for one in ours if one.head.number > last]
        if lacking:
            write_witness(self._witness, lacking)
            self._told = lacking[-1]

    def _in_trouble(self, reason: str) -> None:
        if reason not in (self.trouble or ""):
            _LOG.error("%s", reason)
        self._troubles.append(reason)


def verify_all(
    engine: sa.Engine, signer: Signer, seal: Seal, digest: Digest, witnessed: Sequence[SignedHead]
) -> Report:
    """Verify the whole chain as one state of the database, while others go on writing."""

    def genuine(one: SignedHead) -> bool:
        return signer.verify(head_content(one.head), one.key_id, one.signature)

    with reading(engine) as connection:
        return verify(
            links(connection),
            standing(connection, seal),
            heads(connection),
            witnessed,
            digest=digest,
            genuine=genuine,
        )
