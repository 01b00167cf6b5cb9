"""Say findings and gaps in Markdown, in Chinese or in English, for a card's detail.

Everything that comes from an order, a rule or a table is escaped: a drug's name never becomes markup.
"""

from __future__ import annotations

import datetime as dt
import re
from functools import lru_cache
from typing import Literal

from engine.decision import Finding, Level, NotChecked, Reference, RowCited, Step, Subject, Words
from engine.facts import COLLECTIONS, SINGLES
from engine.vocabulary import words_of

__all__ = [
    "LEVEL",
    "SUMMARY_LIMIT",
    "Language",
    "escape",
    "fact_name",
    "finding_text",
    "gap_text",
    "is_link",
    "plain",
    "said",
    "summary",
    "why",
]

Language = Literal["zh", "en"]
SUMMARY_LIMIT = 139
"""CDS Hooks 2.0: a summary has fewer than 140 characters."""

_MARKUP = re.compile(r"[\\`*_\[\]~|@<>&]")
"""What is markup inside a line; what is only so at its start never stands there."""
_ENTITIES = {"<": "&lt;", ">": "&gt;", "&": "&amp;"}
_ADDRESS = re.compile(r"(?i)(?<=http)(s?):(?=//)|(?<=www)()\.")
_CONTROL = re.compile(r"[\x00-\x1f\x7f\u2028\u2029\u202a-\u202e\u2066-\u2069]+")
_LINK = re.compile(r"https?://[^\s<>()\[\]\"'`\\|^{}]{1,2000}\Z", re.ASCII)


def plain(written: str) -> str:
    """Return one line without control characters or marks that turn the direction of writing."""
    # What is printable has none of them; asking that takes a tenth of the time of looking for each.
    return (written if written.isprintable() else _CONTROL.sub(" ", written)).strip()


@lru_cache(maxsize=8192)
def escape(written: str) -> str:
    """Return the text so that Markdown and HTML show it as it is written.

    >>> escape("<b>5*2")
    '&lt;b&gt;5\\\\*2'
    """
    return _escaped(written)


def _escaped(written: str) -> str:
    line = _MARKUP.sub(_escaped_mark, plain(written))
    return _ADDRESS.sub(_unlinked, line) if "//" in line or "www" in line.casefold() else line


def _escaped_mark(match: re.Match[str]) -> str:
    mark = match.group()
    return _ENTITIES.get(mark) or f"\\{mark}"


def _unlinked(match: re.Match[str]) -> str:
    """Keep an address from becoming a link by itself (GFM autolinks)."""
    return f"{match.group(1)}\\:" if match.group(1) is not None else "\\."


def is_link(href: str) -> bool:
    """Say whether a reference can be followed: an absolute web address without anything odd in it."""
    return _LINK.match(href) is not None


def said(words: Words, language: Language) -> str:
    """Return the text in the language, the other one where it is missing."""
    return (words.zh or words.en) if language == "zh" else (words.en or words.zh)


def summary(written: str, ending: str = "") -> str:
    """Return one line of fewer than 140 characters, cut with an ellipsis; ``ending`` is always kept."""
    line = plain(written) or "RuleWard"
    room = SUMMARY_LIMIT - len(ending)
    return (line if len(line) <= room else line[: room - 1] + "…") + ending


LEVEL = {
    Level.BLOCK: Words("拦截", "Blocked"),
    Level.REASON: Words("需说明理由", "Reason required"),
    Level.WARN: Words("警示", "Warning"),
    Level.NOTE: Words("提示", "Note"),
}
_EVIDENCE = {
    "verified": Words("两处来源已核对", "two sources read"),
    "single": Words("一处来源已核对", "one source read"),
    "recalled": Words("未核对来源", "source not read"),
}
_TO_VERIFY = Words("【待核实】", "[to be verified]")
_OPERATORS = {
    "equal_to": "=", "not_equal_to": "≠", "greater_than": ">", "greater_than_or_equal_to": "≥",
    "less_than": "<", "less_than_or_equal_to": "≤", "equal_to_case_insensitive": "=", "before": "<",
    "after": ">", "on_or_before": "≤", "on_or_after": "≥", "is_one_of": "∈", "is_not_one_of": "∉",
    "includes": "∋", "contains_all": "⊇",
}  # fmt: skip
_PHRASES = {
    "between": Words("在范围内", "within"), "overlaps": Words("时间重叠", "overlaps"),
    "within_days": Words("相隔天数内", "within days of"),
    "shares_at_least_one_element_with": Words("有共同项", "shares an element with"),
    "is_true": Words("为是", "is true"),
    "shares_no_elements_with": Words("无共同项", "shares nothing with"),
    "is_false": Words("为否", "is false"), "is_known": Words("已知", "is known"),
    "is_unknown": Words("未知", "is unknown"), "starts_with": Words("开头为", "starts with"),
    "contains": Words("包含", "contains"), "is_contained_by": Words("属于", "is within"),
    "non_empty": Words("不为空", "is not empty"),
}  # fmt: skip


def fact_name(name: str, subjects: tuple[Subject, ...], language: Language) -> str:
    """Return what a fact is called: the label of its word, else the name as the rule says it."""
    head, _, field = name.partition(".")
    kind = head if head in SINGLES or head in COLLECTIONS else ""
    for subject in subjects:
        if subject.binding == head:
            kind = subject.kind
    return _label(kind, field, name, language)


_COLLECTION = {
    "diagnosis": Words("诊断", "diagnoses"), "allergy": Words("过敏史", "allergies"),
    "medication": Words("用药", "medicines"), "component": Words("用药成分", "drug ingredients"),
    "charge": Words("费用", "charges"), "procedure": Words("手术操作", "procedures"),
    "observation": Words("检验检查结果", "test results"), "imaging": Words("影像检查", "imaging"),
    "appointment": Words("预约", "appointments"), "past_charge": Words("既往费用", "past charges"),
    "past_visit": Words("既往就诊", "past visits"),
}  # fmt: skip


_ORDER_OF_WORDS = ("medication", "component", "charge", "diagnosis", "allergy", "observation", "procedure")


@lru_cache(maxsize=4096)
def _label(kind: str, field: str, name: str, language: Language) -> str:
    if not kind:  # the word of an inner count or sum: what it ranges over is not said here
        kind = next((one for one in _ORDER_OF_WORDS if field and field in words_of(one)), "")
    if not kind:
        return plain(name)
    if not field:
        words = _COLLECTION.get(kind)
        return plain(name) if words is None else said(words, language)
    word = words_of(kind).get(field)
    if word is None:
        return plain(name)
    return word.label.zh if language == "zh" else word.label.en


def _value(value: object) -> str:
    if isinstance(value, str):
        return plain(value[:120])
    if value is None or isinstance(value, bool):
        return "?" if value is None else "✓" if value else "✗"
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, dt.date):
        if value.year == dt.MAXYEAR:
            return "…"  # an open end
        if isinstance(value, dt.datetime):
            return value.isoformat(" ", "minutes")[:16]
        return value.isoformat()
    if isinstance(value, (list, tuple)):
        if all(isinstance(one, str) for one in value):
            return _names(tuple(value))
        return (" – " if len(value) == 2 else ", ").join([_value(one) for one in value[:_MANY]])
    if isinstance(value, (set, frozenset)):
        return _names(tuple(sorted([_value(one) for one in value])))
    return plain(str(value))[:120]


_MANY = 6
"""Elements of a list that are shown."""


@lru_cache(maxsize=4096)
def _names(values: tuple[str, ...]) -> str:
    return ", ".join([plain(one[:120]) for one in values[:_MANY]]) + (" …" if len(values) > _MANY else "")


def why(step: Step, subjects: tuple[Subject, ...], language: Language) -> str:
    """Return one condition in short words: what was compared with what."""
    name = fact_name(step.name, subjects, language)
    value, other = step.value, step.compared_to
    if _lasting(value) and _lasting(other):
        return _kept_reason(name, value, step.operator, other, step.by, language)
    return _reason(name, value, step.operator, other, step.by, language)


_LASTING = (str, float, bool, frozenset, dt.date, type(None))
"""Types of which equal values are written alike; 1.0 and 1.00 as decimals are not."""
_TEXTS = {str}


def _lasting(value: object) -> bool:
    return type(value) in _LASTING or (isinstance(value, tuple) and set(map(type, value)) == _TEXTS)


def _reason(name: str, value: object, operator: str, other: object, by: str, language: Language) -> str:
    phrase = _PHRASES.get(operator)
    sign = _OPERATORS.get(operator) or (said(phrase, language) if phrase else operator)
    against = "" if other is None else f" {_value(other)}"
    return _escaped(f"{name} {_value(value)} {sign}{against}{f' ({by})' if by else ''}")


_kept_reason = lru_cache(maxsize=8192, typed=True)(_reason)
"""Drugs, classes and limits come again and again."""


def _reference(reference: Reference, language: Language) -> str:
    title = escape(" ".join(part for part in (reference.title, reference.article) if part))
    if is_link(reference.href):
        title = f"[{title}]({reference.href})"
    if reference.read_on is None:
        return f"{title} {said(_TO_VERIFY, language)}"
    read = "核对于" if language == "zh" else "read"
    return f"{title} ({read} {reference.read_on.isoformat()})"


def _row(row: RowCited, language: Language) -> str:
    key = ", ".join([f"{column}={_value(value)}" for column, value in row.key.items()])
    return _cited(row.table, key, row.source, row.evidence, row.read_on is None, language)


@lru_cache(maxsize=4096)
def _cited(table: str, key: str, source: str, evidence: str, unread: bool, language: Language) -> str:
    parts = [escape(f"{table}: {key}")]
    if source:
        parts.append(escape(source))
    if evidence:
        grade = _EVIDENCE.get(evidence)
        parts.append(said(grade, language) if grade else escape(evidence))
    if unread or evidence not in {"verified", "single"}:
        parts.append(said(_TO_VERIFY, language))
    return " · ".join(parts)


_REASONS = 6
"""Conditions that a card tells; the decision's own page has them all."""

_HEADS = {
    "advice": Words("建议", "Advice"), "source": Words("依据", "Source"), "row": Words("知识", "Knowledge"),
    "why": Words("原因", "Why"), "limits": Words("局限", "Known limits"), "rule": Words("规则", "Rule"),
}  # fmt: skip


def finding_text(finding: Finding, language: Language) -> str:
    """Return one finding in Markdown: message, advice, evidence, why, limits and the rule."""
    sources, ending = _standing(
        finding.references, finding.known_limits, finding.rule, finding.version, language
    )
    mark = f" {said(_TO_VERIFY, language)}" if finding.to_be_verified else ""
    lines = [
        f"**{said(LEVEL[finding.level], language)}** {escape(said(finding.message, language))}{mark}",
        "",
    ]
    if finding.advice is not None:
        lines.append(_item("advice", escape(said(finding.advice, language)), language))
    lines += sources
    lines += [_item("row", _row(row, language), language) for row in finding.rows]
    true = [step for step in finding.trace if step.outcome is True][:_REASONS]
    reasons = [why(step, finding.subjects, language) for step in true]
    if reasons:
        lines.append(_item("why", ("；" if language == "zh" else "; ").join(reasons), language))
    lines += ending
    return "\n".join(lines)


def _item(head: str, body: str, language: Language) -> str:
    return f"- {said(_HEADS[head], language)}{':' if language == 'zh' else ': '}{body}"


@lru_cache(maxsize=2048)
def _standing(
    references: tuple[Reference, ...], limits: str | Words, rule: str, version: int, language: Language
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the lines of a rule that are the same in all its findings: its sources, and its ending."""
    sources = [_item("source", _reference(one, language), language) for one in references]
    ending = [_item("rule", f"{escape(rule)} v{version}", language)]
    if limits:
        told = escape(said(limits, language) if isinstance(limits, Words) else limits)
        ending.insert(0, _item("limits", told, language))
    return tuple(sources), tuple(ending)


def gap_text(gap: NotChecked, language: Language) -> tuple[str, ...]:
    """Return the names of the facts that a check lacked, or its fault."""
    if gap.missing:
        return tuple(fact_name(name, gap.subjects, language) for name in gap.missing)
    return (plain(gap.fault) or ("未知原因" if language == "zh" else "unknown fault"),)
