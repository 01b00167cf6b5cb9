"""Say a decision in the words of NHSA 3101/3102: ``result``, and beside it what was not checked. Pure.

An empty ``result`` means *nothing found* to the insurer's clients, so whatever was not checked stands in
nodes of its own (``not_checked``, ``decisions``) and in ``warn_msg``; clients pass over unknown nodes.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable
from decimal import ROUND_HALF_UP, Decimal

import msgspec

from adapters.insurance.mapping import Audit, AuditRequest
from adapters.insurance.reading import Note
from adapters.insurance.settings import Settings
from engine.decision import Certainty, Decision, Finding, Level, NotChecked, Status, Subject

__all__ = ["Part", "to_part", "warning"]

_LONGEST = 500
_CENT = Decimal("0.01")
_CERTAINTIES = {
    Certainty.CERTAIN: "1",
    Certainty.HIGHLY_SUSPICIOUS: "2",
    Certainty.SLIGHTLY_SUSPICIOUS: "3",
}
_LEVELS = {Level.BLOCK: "1", Level.REASON: "2", Level.WARN: "3"}  # a note is not sent: severity map
_STATUSES = {Status.PASSED: "通过", Status.FINDINGS: "有疑点", Status.NOT_CHECKED: "未完成审核"}


class Part(msgspec.Struct, frozen=True):
    """One patient's share of an answer, as it is kept in the decision log: a retry is answered from it."""

    at: str  # yyyyMMddHHmmssSSS
    decision: dict[str, object]
    result: list[dict[str, object]]
    notices: list[dict[str, object]]
    not_checked: list[dict[str, object]]
    notes: list[dict[str, str]]


def to_part(
    decision: Decision,
    decision_id: str,
    recorded: bool,
    audit: Audit,
    request: AuditRequest,
    settings: Settings,
    requested: frozenset[str] | None = None,
) -> tuple[Part, tuple[str, ...]]:
    """Return one patient's share of the answer and the ``jr_id`` of each violation in it.

    Args:
        decision: what the engine said.
        decision_id: its id in the decision log; ``jr_id`` follows from it.
        recorded: whether the decision is in the log.
        audit: the way back from items to order lines.
        request: the message.
        settings: the site's tables.
        requested: the rules that the message names; one that does not run now is named as not checked.
    """
    result = [
        _violation(finding, decision_id, audit, request, settings)
        for finding in decision.findings
        if _severity(finding) is not None
    ]
    notices: list[dict[str, object]] = [
        {"rule_id": _rule_id(finding), "notice": _clip(finding.message.zh), "patn_id": audit.patient}
        for finding in decision.findings
        if _severity(finding) is None
    ]
    gaps = _gaps(decision.not_checked, audit)
    gaps += [
        _gap(rule, rule, audit, reason="本阶段不执行此规则，或此规则未生效")
        for rule in sorted((requested or frozenset()) - decision.required)
    ]
    named = {str(gap["rule_id"]) for gap in gaps}
    gaps += [
        _gap(rule, rule, audit, reason="未执行")
        for rule in sorted(decision.required - decision.ran)
        if rule not in named
    ]
    if not decision.required:
        gaps.append(_gap("", "", audit, reason="没有任何规则适用于本次审核，不能视为通过"))
    status = decision.status
    if status is Status.PASSED and gaps:
        status = Status.NOT_CHECKED
    part = Part(
        at=decision.at.strftime("%Y%m%d%H%M%S") + f"{decision.at.microsecond // 1000:03d}",
        decision={
            "patn_id": audit.patient,
            "mdtrt_id": audit.visit,
            "decision_id": decision_id,
            "stage": decision.stage.value,
            "status": status.value,
            "release": decision.release,
            "recorded": recorded,
        },
        result=result,
        notices=notices,
        not_checked=gaps,
        notes=[{"path": note.path, "what": note.what} for note in _first(audit.notes, 100)],
    )
    return part, tuple(str(violation["jr_id"]) for violation in result)


def warning(parts: Iterable[Part]) -> str:
    """Return ``warn_msg``: what an empty ``result`` must not hide; empty when everything was checked."""
    said: list[str] = []
    for part in parts:
        patient = part.decision["patn_id"]
        if not part.decision["recorded"]:
            said.append(f"人员{patient}：审核结果未能写入决策日志，请重发同一msgid")
        if part.not_checked:
            rules = list(dict.fromkeys(str(gap["rule_name"] or gap["reason"]) for gap in part.not_checked))
            more = f"等{len(rules)}项" if len(rules) > 3 else ""
            said.append(f"人员{patient}：未审核 {'、'.join(rules[:3])}{more}，不等于通过")
        if part.notes:
            said.append(f"人员{patient}：{len(part.notes)}处数据无法识别，按未知处理")
    return _clip("；".join(said))


def _violation(
    finding: Finding, decision_id: str, audit: Audit, request: AuditRequest, settings: Settings
) -> dict[str, object]:
    subjects = "|".join(f"{subject.binding}={subject.id}" for subject in finding.subjects)
    jr_id = _id(decision_id, f"{finding.rule}|{subjects}")
    known = finding.amount is not None
    amount = _cents(finding.amount if finding.amount is not None else Decimal(0))
    return {
        "jr_id": jr_id,
        "rule_id": _rule_id(finding),
        "rule_name": _clip(finding.title.zh, 200),
        "vola_cont": _clip(finding.message.zh),
        "patn_id": audit.patient,
        "mdtrt_id": audit.visit,
        "judge_result_detail_dtos": _lines(finding.subjects, amount, jr_id, audit),
        "vola_amt": amount,
        "vola_amt_stas": settings.amount_known if known else settings.amount_unknown,
        "sev_deg": _severity(finding),
        "vola_evid": _evidence(finding),
        "vola_bhvr_type": settings.behaviours.get(finding.behaviour, settings.other_behaviour),
        "task_id": request.task_id,
    }


def _lines(
    subjects: tuple[Subject, ...], amount: Decimal, jr_id: str, audit: Audit
) -> list[dict[str, object]]:
    """Return the lines: the first subject is the offending one (1), the others are related (2)."""
    found: list[dict[str, object]] = []
    for position, subject in enumerate(subjects or (Subject("", "visit", ""),)):
        line = audit.lines.get(subject.id)
        found.append(
            {
                "jrd_id": _id(jr_id, f"{position}|{subject.id}"),
                "patn_id": audit.patient,
                "mdtrt_id": line.mdtrt_id if line else audit.visit,
                "rx_id": line.rx_id if line else "",
                "vola_item_type": "1" if position == 0 else "2",
                "vola_amt": amount if position == 0 else _cents(Decimal(0)),
            }
        )
    return found


def _gaps(gaps: Iterable[NotChecked], audit: Audit) -> list[dict[str, object]]:
    """Return one node a rule and reason, with all the lines on which it could not be checked."""
    found: dict[tuple[str, str, str], dict[str, object]] = {}
    lines: dict[tuple[str, str, str], dict[str, None]] = {}
    for gap in gaps:
        key = (gap.rule, "|".join(gap.missing), gap.fault)
        if key not in found:
            missing = "、".join(gap.missing)
            reason = gap.fault or (f"缺少 {missing}" if missing else "未执行")
            found[key] = _gap(gap.rule, gap.title.zh, audit, reason, gap.missing)
            lines[key] = {}
        for subject in gap.subjects:
            line = audit.lines.get(subject.id)
            if line and line.rx_id:
                lines[key][line.rx_id] = None
    for key, node in found.items():
        node["rx_ids"] = list(lines[key])
    return list(found.values())


def _gap(rule: str, name: str, audit: Audit, reason: str, missing: tuple[str, ...] = ()) -> dict[str, object]:
    return {
        "rule_id": rule,
        "rule_name": name,
        "patn_id": audit.patient,
        "mdtrt_id": audit.visit,
        "missing": list(missing),
        "reason": reason,
        "rx_ids": [],
    }


def _severity(finding: Finding) -> str | None:
    if finding.certainty is not None:
        return _CERTAINTIES[finding.certainty]
    return _LEVELS.get(finding.level)


def _rule_id(finding: Finding) -> str:
    return finding.official_code or finding.rule


def _evidence(finding: Finding) -> str:
    """Return what the finding rests on: the rows cited, then the documents; what was not read is marked."""
    said = [
        f"{row.source}（{'待核实' if row.evidence == 'recalled' else row.read_on or row.evidence}）"
        for row in finding.rows
        if row.source
    ]
    for reference in finding.references:
        article = f" {reference.article}" if reference.article else ""
        said.append(f"{reference.title}{article}{'' if reference.read_on else '（待核实）'}")
    return _clip("；".join(dict.fromkeys(said)))


def _first(notes: tuple[Note, ...], limit: int) -> tuple[Note, ...]:
    if len(notes) <= limit:
        return notes
    return (*notes[:limit], Note("$", f"and {len(notes) - limit} more places could not be read"))


def _id(space: str, name: str) -> str:
    try:
        return str(uuid.uuid5(uuid.UUID(space), name))
    except ValueError:  # a decision log may number its entries otherwise
        return str(uuid.uuid5(uuid.NAMESPACE_URL, f"{space}/{name}"))


def _cents(amount: Decimal) -> Decimal:
    return amount.quantize(_CENT, ROUND_HALF_UP)


def _clip(text: str, longest: int = _LONGEST) -> str:
    return text if len(text) <= longest else text[: longest - 1] + "…"
