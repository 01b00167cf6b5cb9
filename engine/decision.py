"""Say what came out of a check: findings, what could not be checked, and the trace of both.

A :class:`Decision` is rendered three ways elsewhere (CDS Hooks card, NHSA 3101/3102 violation, work-queue
finding), so nothing here knows a wire format.
"""

from __future__ import annotations

import datetime as dt
from decimal import Decimal
from enum import StrEnum
from typing import Any

import msgspec

__all__ = [
    "LEVELS",
    "Certainty",
    "Decision",
    "Finding",
    "Level",
    "NotChecked",
    "Reference",
    "RowCited",
    "Stage",
    "Status",
    "Step",
    "Subject",
    "Suggestion",
    "Words",
]


class Stage(StrEnum):
    """The moment at which a check runs; a rule lists the stages it belongs to."""

    PATIENT_VIEW = "patient_view"
    ORDER_SELECT = "order_select"
    ORDER_SIGN = "order_sign"
    MEDICATION_VERIFY = "medication_verify"
    ENCOUNTER_DISCHARGE = "encounter_discharge"
    APPOINTMENT_BOOK = "appointment_book"
    BEFORE = "before"  # 事前, NHSA 3101
    DURING = "during"  # 事中, NHSA 3102
    DRILL = "drill"  # 事后, on history


class Level(StrEnum):
    """How strongly a finding speaks, worst first in :data:`LEVELS`."""

    BLOCK = "block"  # 拦截: cannot be signed
    REASON = "reason"  # 强提醒: needs a reason
    WARN = "warn"  # 提醒
    NOTE = "note"  # 提示


LEVELS: tuple[Level, ...] = (Level.BLOCK, Level.REASON, Level.WARN, Level.NOTE)


class Certainty(StrEnum):
    """How sure an insurance finding is (NHSA ``sev_deg`` 1, 2, 3)."""

    CERTAIN = "certain"  # 明确违规
    HIGHLY_SUSPICIOUS = "highly_suspicious"  # 高度可疑
    SLIGHTLY_SUSPICIOUS = "slightly_suspicious"  # 轻度可疑


class Status(StrEnum):
    """The answer in one word; a decision with findings *and* gaps is ``findings`` and keeps its gaps."""

    PASSED = "passed"
    FINDINGS = "findings"
    NOT_CHECKED = "not_checked"


class Words(msgspec.Struct, frozen=True):
    """One text in Chinese and in English."""

    zh: str
    en: str


class Reference(msgspec.Struct, frozen=True, omit_defaults=True):
    """A document that a rule rests on; ``read_on`` is ``None`` where it was not read: *to be verified*."""

    title: str
    article: str = ""
    href: str = ""
    read_on: dt.date | None = None


class Subject(msgspec.Struct, frozen=True):
    """One thing that a finding is about. The first subject of a finding is the offending one."""

    binding: str  # the rule's own word for it: line, a, b
    kind: str  # medication, charge …
    id: str
    name: str = ""


class RowCited(msgspec.Struct, frozen=True, omit_defaults=True):
    """The knowledge row that made a rule fire."""

    table: str
    key: dict[str, Any]
    source: str = ""
    evidence: str = ""  # verified: two sources read; single; recalled: to be verified
    read_on: dt.date | None = None


class Step(msgspec.Struct, frozen=True, omit_defaults=True):
    """One condition as it was judged: this fact had this value, was compared so, and this came out."""

    path: str  # when.all[0]
    name: str
    operator: str
    outcome: bool | None  # None: unknown
    value: Any = None
    compared_to: Any = None
    by: str = ""  # where the other side came from: a fact's name, "parameter x since 2025-01-01"
    missing: tuple[str, ...] = ()


class Suggestion(msgspec.Struct, frozen=True, omit_defaults=True):
    """A way out that one click can take: remove the subject with this id."""

    label: Words
    remove: str = ""  # id of the subject to take away


class Finding(msgspec.Struct, frozen=True, omit_defaults=True):
    """A rule that fired on some subjects."""

    rule: str
    version: int
    ruleset: str
    title: Words
    level: Level
    message: Words
    subjects: tuple[Subject, ...]
    certainty: Certainty | None = None
    official_code: str = ""
    amount: Decimal | None = None
    behaviour: str = ""  # behaviour class of the insurer's lists, 4.4
    trace: tuple[Step, ...] = ()
    rows: tuple[RowCited, ...] = ()
    references: tuple[Reference, ...] = ()
    suggestions: tuple[Suggestion, ...] = ()
    known_limits: str | Words = ""
    advice: Words | None = None
    to_be_verified: bool = False


class NotChecked(msgspec.Struct, frozen=True, omit_defaults=True):
    """A check that could not run, on which subjects, and which fact or fault stood in its way."""

    rule: str
    title: Words
    missing: tuple[str, ...]  # names of facts as the rule says them: patient.weight_kg
    subjects: tuple[Subject, ...] = ()
    fault: str = ""  # table not loaded, rule refused …


class Decision(msgspec.Struct, frozen=True):
    """What one check said, with what is needed to make it again."""

    stage: Stage
    at: dt.datetime
    release: str  # digest of the release in force
    findings: tuple[Finding, ...]
    shadow: tuple[Finding, ...]  # evaluated and logged, never shown
    not_checked: tuple[NotChecked, ...]
    required: frozenset[str]  # ids of the checks that this action needs
    ran: frozenset[str]  # ids of the checks that ran to an answer on the stated facts
    left_aside: tuple[str, ...] = ()  # what of the request no check could look at: places, drug names

    @property
    def status(self) -> Status:
        """Say *passed* only if the set of checks that ran is the set of checks required."""
        if self.findings:
            return Status.FINDINGS
        if self.not_checked or self.left_aside or self.ran != self.required or not self.required:
            return Status.NOT_CHECKED
        return Status.PASSED
