"""Render a decision as CDS Hooks 2.0 cards: one card an order, worst first, and one for what was not checked.

A card never looks like a pass: no card at all means that every check required ran and found nothing.
"""

from __future__ import annotations

from functools import cache, lru_cache

import msgspec

from api.card_gaps import Json, Scene, card_id, gaps_card, short
from api.card_text import Language, escape, finding_text, is_link, plain, said, summary
from engine.decision import LEVELS, Decision, Finding, Level, Reference, Words

__all__ = ["OVERRIDE_SYSTEM", "Json", "Scene", "answer_of", "cards_of"]


OVERRIDE_SYSTEM = "urn:ruleward:override-reason"
TOPIC_SYSTEM = "urn:ruleward:rule"
_INDICATOR = {Level.BLOCK: "critical", Level.REASON: "critical", Level.WARN: "warning", Level.NOTE: "info"}
_RANK = {level: rank for rank, level in enumerate(LEVELS)}
_OVERRIDE = (
    ("benefit-outweighs-risk", Words("获益大于风险,已告知患者", "Benefit outweighs risk; patient informed")),
    ("will-monitor", Words("已安排监测", "Will monitor")),
    ("tolerated-before", Words("既往耐受", "Tolerated before")),
    ("not-applicable", Words("不适用于该患者", "Does not apply to this patient")),
    ("data-out-of-date", Words("所依据的资料有误或过时", "The data it rests on are wrong or out of date")),
    ("specialist-advice", Words("按专科或会诊意见", "On specialist advice")),
    ("emergency", Words("急诊抢救", "Emergency")),
)
_EXTENSION = "com.ruleward.decision"


def base(item_id: str) -> str:
    """Return the order that an item belongs to: a component's id is its order's, ``#`` and the ingredient."""
    return item_id.split("#", 1)[0]


def cards_of(decision: Decision, decision_id: str, scene: Scene, *, recorded: bool) -> list[Json]:
    """Return the cards, worst first; the same decision id gives the same uuids."""
    groups: dict[str, list[Finding]] = {}
    for finding in decision.findings:
        groups.setdefault(_order_of(finding, scene), []).append(finding)
    cards: list[tuple[int, str, Json]] = []
    for order, findings in groups.items():
        findings.sort(key=lambda one: (_RANK[one.level], one.rule))
        card = _order_card(order, findings, decision, decision_id, scene)
        cards.append((_RANK[findings[0].level], order, card))
    cards.sort(key=lambda one: one[:2])
    found = [card for _, _, card in cards]
    if not recorded:
        found.insert(0, _unrecorded_card(decision_id, scene.language))
    gaps = gaps_card(decision, decision_id, scene)
    if gaps is not None:
        found.append(gaps)
    return found


def _order_of(finding: Finding, scene: Scene) -> str:
    """Return the order a finding is shown at: the first of its subjects that the user is acting on."""
    subjects = [base(subject.id) for subject in finding.subjects]
    return next((one for one in subjects if one in scene.focus), subjects[0] if subjects else "")


def _order_card(
    order: str, findings: list[Finding], decision: Decision, decision_id: str, scene: Scene
) -> Json:
    language, worst = scene.language, findings[0]
    more = len(findings) - 1
    ending = "" if not more else f"(另有{more}项)" if language == "zh" else f" (+{more} more)"
    release = f"{'发布' if language == 'zh' else 'release'} {escape(short(decision.release))}"
    detail = "\n\n".join(finding_text(finding, language) for finding in findings)
    card: Json = {
        "uuid": card_id(decision_id, "card", order),
        "summary": summary(said(worst.message, language), ending),
        "detail": f"{detail}\n\n{release}",
        "indicator": _INDICATOR[worst.level],
        "source": _source(worst, language),
    }
    suggestions = _suggestions(order, findings, decision_id, scene)
    if suggestions:
        card["suggestions"] = suggestions
        card["selectionBehavior"] = "at-most-one"
    if worst.level is not Level.NOTE:
        card["overrideReasons"] = _override_reasons(language)
    shown = [_shown(finding) for finding in findings]
    card["extension"] = {"com.ruleward.findings": shown, **({"com.ruleward.subject": order} if order else {})}
    return card


@cache
def _override_reasons(language: Language) -> tuple[Json, ...]:
    return tuple(
        {"code": code, "system": OVERRIDE_SYSTEM, "display": said(words, language)}
        for code, words in _OVERRIDE
    )


def _shown(finding: Finding) -> Json:
    shown: Json = {"rule": finding.rule, "version": finding.version, "level": finding.level}
    if finding.official_code:
        shown["officialCode"] = finding.official_code
    return shown


def _source(finding: Finding, language: Language) -> Json:
    return _source_of(
        finding.references[0] if finding.references else None, finding.title, finding.rule, language
    )


@lru_cache(maxsize=4096)
def _source_of(reference: Reference | None, rule_title: Words, rule: str, language: Language) -> Json:
    label = plain(reference.title)[:200] if reference is not None else ""
    source: Json = {"label": label or "RuleWard"}
    if reference is not None and is_link(reference.href):
        source["url"] = reference.href
    title = plain(said(rule_title, language))
    topic: Json = {"system": TOPIC_SYSTEM, "code": rule}
    source["topic"] = {**topic, "display": title} if title else topic
    return source


def _suggestions(order: str, findings: list[Finding], decision_id: str, scene: Scene) -> list[Json]:
    """Return what one click can do. Only a draft can be deleted: the client owns what is already active."""
    found: dict[str, Json] = {}
    for finding in findings:
        for suggestion in finding.suggestions:
            target = base(suggestion.remove)
            label = plain(said(suggestion.label, scene.language))
            if not label or target not in scene.removable or target in found:
                continue
            found[target] = {
                "label": label,
                "uuid": card_id(decision_id, "suggestion", order, target),
                "actions": [{"type": "delete", "description": label, "resourceId": target}],
            }
    return list(found.values())


def _unrecorded_card(decision_id: str, language: Language) -> Json:
    zh = language == "zh"
    return {
        "uuid": card_id(decision_id, "unrecorded"),
        "summary": "本次审核结果未能记入决策日志"
        if zh
        else "This decision could not be recorded in the decision log",
        "detail": "审核已执行,但结果没有存档,事后无法复核。请重试或通知信息科。"
        if zh
        else "The checks ran, but the result is not on record and cannot be reviewed. Try again or tell IT.",
        "indicator": "warning",
        "source": {"label": "RuleWard"},
    }


def answer_of(
    decision: Decision, decision_id: str, scene: Scene, *, recorded: bool, milliseconds: float
) -> tuple[bytes, tuple[str, ...]]:
    """Return the answer's JSON and the uuids of its cards, by which feedback will refer to them."""
    cards = cards_of(decision, decision_id, scene, recorded=recorded)
    body = {
        "cards": cards,
        "extension": {
            _EXTENSION: {
                "id": decision_id,
                "status": decision.status,
                "release": decision.release,
                "recorded": recorded,
                "ms": round(milliseconds, 3),
            }
        },
    }
    return msgspec.json.encode(body), tuple(str(card["uuid"]) for card in cards)
