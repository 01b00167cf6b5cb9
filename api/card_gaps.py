"""Make the card that says what was not checked, and for want of what: it never looks like a pass."""

from __future__ import annotations

import uuid
from collections.abc import Callable

import msgspec

from adapters.emr.fhir import Note, NoteKind
from api.card_text import Language, escape, gap_text, plain, said, summary
from api.identifiers import name_uuid
from engine.decision import Decision, NotChecked, Words

__all__ = ["Json", "Scene", "card_id", "gaps_card", "left_aside", "short"]

Json = dict[str, object]

_LISTED = 12
"""Names that one line of the *not checked* card lists before it counts the rest."""

_ALARMING = (NoteKind.UNRESOLVED, NoteKind.NOT_COVERED, NoteKind.MALFORMED)
"""Notes that show themselves; the rest only explain why a check could not be made."""

_SHOWN_NOTES = (
    NoteKind.UNRESOLVED,
    NoteKind.NOT_COVERED,
    NoteKind.NOT_OBTAINED,
    NoteKind.DOSE,
    NoteKind.MALFORMED,
)
_NOTE_HEADS = {
    NoteKind.UNRESOLVED: Words("药品字典中没有", "Not in the drug dictionary"),
    NoteKind.NOT_COVERED: Words("没有规则检查的医嘱", "Orders that no check covers"),
    NoteKind.NOT_OBTAINED: Words("未取得", "Not obtained"),
    NoteKind.DOSE: Words("剂量无法计算", "Dose could not be computed"),
    NoteKind.MALFORMED: Words("格式错误,按未知处理", "Malformed, taken as unknown"),
}


class Scene(msgspec.Struct, frozen=True, kw_only=True):
    """What of the request the cards need beside the decision."""

    language: Language = "zh"
    notes: tuple[Note, ...] = ()
    removable: frozenset[str] = frozenset()  # ids of draft orders that a suggestion may delete
    focus: frozenset[str] = frozenset()  # ids of the orders being signed, chosen or verified
    title: Callable[[str], Words | None] = lambda _: None  # of a rule, by its id


def card_id(decision_id: str, *parts: str) -> str:
    """Return a UUID that is the same whenever the same decision is rendered."""
    return name_uuid(uuid.NAMESPACE_OID, "|".join(("ruleward", decision_id, *parts)))


def short(release: str) -> str:
    """Return enough of a release's digest to recognise it."""
    return release.rpartition(":")[2][:12] or "?"


def gaps_card(decision: Decision, decision_id: str, scene: Scene) -> Json | None:
    """Return the card that says what was not checked and for want of what; ``None`` if nothing is open."""
    notes = [note for note in scene.notes if note.kind in _SHOWN_NOTES]
    open_checks = {gap.rule for gap in decision.not_checked} | (decision.required - decision.ran)
    if not open_checks and not decision.left_aside and decision.required:
        return None
    zh = scene.language == "zh"
    missing = _missing(decision.not_checked, scene.language)
    never = sorted(decision.required - decision.ran - {gap.rule for gap in decision.not_checked})
    lines: list[str] = []
    for name, rules in missing.items():
        titles = _join([_title(rule, scene) for rule in sorted(rules)], scene.language)
        lines.append(f"- {'缺少' if zh else 'Missing'} **{escape(name)}**: {titles}")
    if never:
        titles = _join([_title(rule, scene) for rule in never], scene.language)
        lines.append(f"- {'未运行' if zh else 'Did not run'}: {titles}")
    orders = sorted(
        {
            plain(subject.name or subject.id)
            for gap in decision.not_checked
            for subject in gap.subjects
            if not stand_in(subject.id)
        }
    )
    if orders:
        lines.append(
            f"- {'涉及' if zh else 'Concerns'}: {_join([escape(one) for one in orders], scene.language)}"
        )
    for kind in _SHOWN_NOTES:
        told = sorted({_key(note.name or note.path, scene.language) for note in notes if note.kind is kind})
        if told:
            head = said(_NOTE_HEADS[kind], scene.language)
            lines.append(f"- {head}: {_join([escape(one) for one in told], scene.language)}")
    if not decision.required:
        lines.append("- 此环节没有启用的规则" if zh else "- No rule is active for this action")
    lines.append(f"\n{'发布' if zh else 'release'} {escape(short(decision.release))}")
    return {
        "uuid": card_id(decision_id, "not-checked"),
        "summary": _gaps_summary(open_checks, list(missing), notes, decision, scene),
        "detail": "\n".join(lines),
        "indicator": "info",
        "source": {"label": "RuleWard", "topic": {"system": "urn:ruleward:status", "code": "not_checked"}},
        "extension": {"com.ruleward.notChecked": sorted(open_checks)},
    }


def left_aside(notes: tuple[Note, ...]) -> tuple[str, ...]:
    """Name what of the request no check can look at."""
    return tuple(dict.fromkeys(note.name or note.path for note in notes if note.kind in _ALARMING))


def _gaps_summary(
    open_checks: set[str], missing: list[str], notes: list[Note], decision: Decision, scene: Scene
) -> str:
    zh = scene.language == "zh"
    if not decision.required and not open_checks:
        return summary(
            "未检查:此环节没有启用的规则" if zh else "Not checked: no rule is active for this action"
        )
    drugs = sorted({note.name for note in notes if note.kind is NoteKind.UNRESOLVED and note.name})
    reasons = [*missing, *drugs] or sorted({_key(note.name or note.path, scene.language) for note in notes})
    listed = ("、" if zh else ", ").join(reasons)
    if not open_checks:
        return summary(f"部分内容未检查:{listed}" if zh else f"Not checked in part: {listed}")
    count = len(open_checks)
    if not listed:
        return summary(f"{count}项检查未完成" if zh else f"{count} checks could not be made")
    return summary(
        f"{count}项检查未完成,缺少{listed}"
        if zh
        else f"{count} checks could not be made for want of {listed}"
    )


def _missing(gaps: tuple[NotChecked, ...], language: Language) -> dict[str, set[str]]:
    """Group by what was missing, that which stood in the way most often first."""
    found: dict[str, set[str]] = {}
    for gap in gaps:
        stand_ins = {key for subject in gap.subjects if (key := stand_in(subject.id))}
        names = tuple(_key(key, language) for key in sorted(stand_ins)) or gap_text(gap, language)
        for name in names:
            found.setdefault(name, set()).add(gap.rule)
    return dict(sorted(found.items(), key=lambda one: (-len(one[1]), one[0])))


_KEYS = {
    "patient": Words("患者信息", "patient"), "encounter": Words("就诊信息", "encounter"),
    "allergies": Words("过敏史", "allergies"), "conditions": Words("诊断", "conditions"),
    "meds": Words("在用医嘱", "active orders"),
    "medStatements": Words("自述用药", "self-reported medicines"),
    "labs": Words("检验结果", "laboratory results"), "vitals": Words("生命体征", "vital signs"),
    "coverage": Words("参保信息", "coverage"), "imaging": Words("既往影像检查", "past imaging"),
    "procedures": Words("既往手术操作", "past procedures"),
    "appointments": Words("已有预约", "other appointments"),
}  # fmt: skip


def stand_in(item_id: str) -> str:
    """Return the prefetch key that an unknown item stands in for, empty for an item that is one."""
    key, _, rest = item_id.partition("#")
    return key if rest.startswith("?") and key in _KEYS else ""


def _key(name: str, language: Language) -> str:
    words = _KEYS.get(name)
    return plain(name) if words is None else said(words, language)


def _title(rule: str, scene: Scene) -> str:
    words = scene.title(rule)
    return escape(said(words, scene.language) if words is not None else rule)


def _join(names: list[str], language: Language) -> str:
    listed = ("、" if language == "zh" else ", ").join(names[:_LISTED])
    more = len(names) - _LISTED
    return listed if more <= 0 else f"{listed} … (+{more})"
