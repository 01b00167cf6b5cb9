"""Decide and record, in that order, before anyone is answered: the one way from facts to an answer."""

from __future__ import annotations

import logging
import uuid
from collections.abc import Callable
from time import perf_counter
from typing import Any, Protocol

import msgspec

from api.identifiers import name_uuid
from engine.decision import Decision, Finding, Level, NotChecked, RowCited, Stage, Step
from engine.errors import NotReady, NotRecorded
from engine.evaluate import evaluate
from engine.facts import Facts
from engine.ports import Clock, DecisionLog, Digest, Entry, FeedbackEntry
from engine.snapshot import Snapshot

__all__ = ["DecisionService", "InForce", "Meter", "Render", "trace_of"]

_LOG = logging.getLogger("ruleward.decisions")

Render = Callable[[Decision, str, bool], tuple[bytes, tuple[str, ...]]]
"""(decision, decision id, recorded) -> (answer, ids by which feedback will refer to parts of it)."""


class InForce(Protocol):
    """Where the snapshot in force is read; ``None`` before the first release."""

    def now(self) -> Snapshot | None: ...


class Meter(Protocol):
    """What counts decisions."""

    def decided(self, interface: str, decision: Decision, seconds: float, *, recorded: bool) -> None: ...


class DecisionService:
    """Turn facts into a recorded answer. One a process, shared by every interface."""

    def __init__(
        self,
        in_force: InForce,
        log: DecisionLog,
        digest: Digest,
        clock: Clock,
        meter: Meter,
        site: str = "",
    ) -> None:
        self._in_force, self._log, self.digest, self._clock, self._meter = in_force, log, digest, clock, meter
        self._site = site  # where every decision of this service belongs

    def in_force(self) -> Snapshot:
        """Return the snapshot in force; read it once a request. Raises ``NotReady`` before the first."""
        snapshot = self._in_force.now()
        if snapshot is None:
            raise NotReady("no release is in force yet")
        return snapshot

    async def decide(  # noqa: PLR0913 - each is a different fact about one request
        self,
        snapshot: Snapshot,
        facts: Facts,
        *,
        stage: Stage,
        interface: str,
        key: str,
        request_digest: str,
        render: Render,
        patient: str = "",
        only: frozenset[str] | None = None,
        left_aside: tuple[str, ...] = (),
    ) -> bytes:
        """Evaluate, record, answer; ``left_aside`` names what of the request no check can look at.

        Returns the recorded answer: that of the first request with this key. If it could not be recorded, the
        answer is rendered anew with ``recorded=False`` and says so. Raises ``ReusedKey`` when the key stands
        for another request.
        """
        began = perf_counter()
        at = self._clock()
        decision = evaluate(snapshot, facts, at, stage, only)
        if left_aside:
            decision = msgspec.structs.replace(decision, left_aside=left_aside)
        decision_id = name_uuid(uuid.NAMESPACE_URL, f"ruleward:{interface}:{key}:{request_digest}")
        answer, cards = render(decision, decision_id, True)
        entry = Entry(
            id=decision_id,
            key=key,
            request_digest=request_digest,
            interface=interface,
            stage=stage,
            at=at,
            release=snapshot.release,
            facts_digest=self.digest(msgspec.json.encode(facts, order="deterministic")),
            status=decision.status,
            findings=len(decision.findings),
            not_checked=len(decision.not_checked),
            trace=trace_of(decision),
            answer=answer,
            cards=cards,
            patient=patient,
            site=self._site,
            department=facts.visit.department or "",
        )
        recorded = True
        try:
            answer = (await self._log.append(entry)).answer
        except NotRecorded as error:
            recorded = False
            _LOG.error("decision %s is not recorded: %s", decision_id, error)
            answer, _ = render(decision, decision_id, False)
        self._meter.decided(interface, decision, perf_counter() - began, recorded=recorded)
        return answer

    async def find(self, key: str, request_digest: str) -> bytes | None:
        """Return what was answered to this key before; ``None`` too when the log cannot be read."""
        try:
            found = await self._log.find(key, request_digest)
        except NotRecorded as error:
            _LOG.warning("the decision log cannot be asked for an earlier answer: %s", error)
            return None
        return found.answer if found else None

    async def feedback(self, entries: tuple[FeedbackEntry, ...], /) -> None:
        """Record what users did with findings; raises ``NotRecorded``."""
        await self._log.append_feedback(entries)


class _Traced(msgspec.Struct, omit_defaults=True):
    """A finding as the log keeps it: what decided, no prose and no names."""

    rule: str
    version: int
    level: Level
    subjects: tuple[str, ...]
    trace: tuple[Step, ...]
    rows: tuple[RowCited, ...] = ()
    amount: Any = None


class _Trace(msgspec.Struct, omit_defaults=True):
    required: frozenset[str]
    ran: frozenset[str]
    findings: tuple[_Traced, ...] = ()
    shadow: tuple[_Traced, ...] = ()
    not_checked: tuple[tuple[str, tuple[str, ...], tuple[str, ...], str], ...] = ()


_ENCODER = msgspec.json.Encoder(order="deterministic")


def trace_of(decision: Decision) -> bytes:
    """Return the JSON that the decision log keeps: with release and facts, enough to decide again."""
    return _ENCODER.encode(
        _Trace(
            required=decision.required,
            ran=decision.ran,
            findings=tuple([_traced(finding) for finding in decision.findings]),
            shadow=tuple([_traced(finding) for finding in decision.shadow]),
            not_checked=tuple([_gap(gap) for gap in decision.not_checked]),
        )
    )


def _traced(finding: Finding) -> _Traced:
    subjects = tuple([subject.id for subject in finding.subjects])
    return _Traced(
        finding.rule, finding.version, finding.level, subjects, finding.trace, finding.rows, finding.amount
    )


def _gap(gap: NotChecked) -> tuple[str, tuple[str, ...], tuple[str, ...], str]:
    return gap.rule, gap.missing, tuple([subject.id for subject in gap.subjects]), gap.fault
