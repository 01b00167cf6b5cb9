"""Understand how often: the frequency words of Chinese hospital systems, Latin, English, and codes."""

from __future__ import annotations

import re
from functools import lru_cache

import msgspec

__all__ = ["WORDS", "Rhythm", "read_frequency"]


class Rhythm(msgspec.Struct, frozen=True):
    """Times a day, at least and at most. ``once``: one dose only. ``as_needed``: a ceiling at best."""

    low: float | None = None
    high: float | None = None
    once: bool = False
    as_needed: bool = False


WORDS: dict[str, float] = {
    "qd": 1, "qn": 1, "qm": 1, "hs": 1, "am": 1, "pm": 1, "bed": 1, "od": 1,
    "bid": 2, "bd": 2, "tid": 3, "tds": 3, "qid": 4,
    "q12h": 2, "q8h": 3, "q6h": 4, "q5h": 5, "q4h": 6, "q3h": 8, "q2h": 12, "qh": 24, "q1h": 24, "q1/2h": 48,
    "qod": 0.5, "q2d": 0.5, "q3d": 1 / 3, "qw": 1 / 7, "wk": 1 / 7, "biw": 2 / 7, "tiw": 3 / 7,
    "qow": 1 / 14, "q2w": 1 / 14, "2w": 1 / 14, "q3w": 1 / 21, "3w": 1 / 21, "q4w": 1 / 28, "4w": 1 / 28,
    "qmo": 1 / 30,
}  # fmt: skip
"""Code -> times a day. ``q5h`` is 5, rounded up, as hospital systems count it."""

_ONCE = {"st", "stat", "once", "即刻", "立即", "立刻", "一次性", "单次", "临时一次"}
_NEEDED = {"prn", "sos", "必要时", "需要时", "按需", "as needed", "when required"}
_FIXED = {
    "每晚": 1.0, "每晚一次": 1.0, "睡前": 1.0, "每早": 1.0, "晨起": 1.0, "每晨": 1.0, "顿服": 1.0,
    "每日": 1.0, "每天": 1.0, "隔日": 0.5, "隔日一次": 0.5, "隔天": 0.5, "隔天一次": 0.5, "隔周": 1 / 14,
    "隔周一次": 1 / 14, "每周": 1 / 7, "每小时": 24.0, "每半小时": 48.0, "daily": 1.0, "once daily": 1.0,
    "every day": 1.0, "nightly": 1.0, "at bedtime": 1.0, "twice daily": 2.0, "twice a day": 2.0,
    "every other day": 0.5, "weekly": 1 / 7, "once weekly": 1 / 7, "hourly": 24.0, "every hour": 24.0,
    "monthly": 1 / 30,
}  # fmt: skip

_DIGITS = {
    "零": 0, "半": 0.5, "一": 1, "二": 2, "两": 2, "三": 3, "四": 4, "五": 5, "六": 6, "七": 7, "八": 8,
    "九": 9, "十": 10, "十二": 12, "二十四": 24, "one": 1, "two": 2, "three": 3, "four": 4, "six": 6,
    "eight": 8, "twelve": 12,
}  # fmt: skip
_N = r"(\d{1,3}(?:\.\d+)?|1/2|二十四|十二|[一二两三四五六七八九十半])"
_E = r"(\d{1,3}|one|two|three|four|six|eight|twelve)"
_HOURS = r"(?:个)?(?:小时|h(?:ours?|rs?)?)"

# Each pattern gives (times, span); the span is counted in days by its last field.
_PATTERNS: tuple[tuple[re.Pattern[str], str, float], ...] = tuple(
    (re.compile(pattern), kind, span)
    for pattern, kind, span in (
        (rf"每{_N}\s*{_HOURS}\s*(?:一|1)?次?", "every", 1 / 24),
        (rf"q\s*{_N}\s*h\b", "every", 1 / 24),
        (rf"q\s*{_N}\s*min\b", "every", 1 / 1440),
        (rf"每{_N}\s*分钟", "every", 1 / 1440),
        (rf"(?:每|一|1)\s*(?:日|天)\s*{_N}\s*次", "times", 1.0),
        (rf"{_N}\s*次\s*/\s*(?:日|天|d)", "times", 1.0),
        (rf"\A日{_N}次", "times", 1.0),
        (rf"\bq\s*{_N}\s*d\b", "every", 1.0),
        (rf"(?:每)?{_N}\s*(?:日|天)\s*(?:一|1)次", "every", 1.0),
        (rf"(?:每)?{_N}\s*(?:周|星期)\s*(?:一|1)次", "every", 7.0),
        (rf"(?:每|一|1)\s*(?:周|星期)\s*{_N}\s*次", "times", 7.0),
        (rf"(?:每|一|1)\s*个?月\s*{_N}\s*次", "times", 30.0),
        (rf"\bq\s*{_N}\s*w\b", "every", 7.0),
        (rf"\b{_E}\s*times?\s*(?:daily|(?:a|per|each|every)\s*day)", "times", 1.0),
        (rf"\b{_E}\s*times?\s*(?:weekly|(?:a|per|each|every)\s*week)", "times", 7.0),
        (rf"\bevery\s*{_E}\s*h(?:ou)?rs?\b", "every", 1 / 24),
        (rf"\bevery\s*{_E}\s*days?\b", "every", 1.0),
        (rf"\bevery\s*{_E}\s*weeks?\b", "every", 7.0),
    )
)
_WORD = re.compile(
    r"(?<![a-z0-9/])("
    + "|".join(
        sorted(
            (re.escape(word) for word in (*WORDS, "st", "stat", "once", "prn", "sos")), key=len, reverse=True
        )
    )
    + r")(?![a-z0-9])"
)
_RANGES: tuple[tuple[re.Pattern[str], str], ...] = (
    (re.compile(r"(?:每|一|1)?\s*(?:日|天)\s*(\d{1,2})\s*(?:-|~|–|至|到)\s*(\d{1,2})\s*次"), "times"),
    (re.compile(r"(\d{1,2})\s*(?:-|~|–|至|到)\s*(\d{1,2})\s*次\s*/\s*(?:日|天|d)"), "times"),
    (re.compile(r"\bq\s*(\d{1,2})\s*(?:-|~|–)\s*(\d{1,2})\s*h\b"), "hours"),
    (re.compile(r"每\s*(\d{1,2})\s*(?:-|~|–|至|到)\s*(\d{1,2})\s*(?:个)?(?:小时|h)"), "hours"),
    (re.compile(r"\bevery\s*(\d{1,2})\s*(?:-|~|–|to)\s*(\d{1,2})\s*h(?:ou)?rs?\b"), "hours"),
)
_EXACT_ONLY = {
    "每日",
    "每天",
    "每周",
    "每小时",
    "daily",
    "weekly",
    "hourly",
    "monthly",
    "隔日",
    "隔天",
    "隔周",
}
"""Phrases that say a rhythm only when they stand alone: 每日最大 4 g is none."""
_DOTS = re.compile(r"(?<=[a-z])\.(?=[a-z]|$|\s)")
_AMBIGUOUS = {
    "am",
    "pm",
    "od",
    "bd",
    "bed",
    "2w",
    "3w",
    "4w",
    "wk",
    "once",
}  # words of other meanings inside a sentence


def _value(written: str) -> float:
    if written == "1/2":
        return 0.5
    found = _DIGITS.get(written)
    return float(written) if found is None else float(found)


@lru_cache(maxsize=4096)
def read_frequency(written: str) -> Rhythm | None:
    """Return the rhythm that a code or a phrase says; ``None`` where it says none that we know.

    >>> read_frequency("tid pc").high
    3
    >>> round(read_frequency("隔日一次").high, 3)
    0.5
    """
    said = _DOTS.sub("", written.strip().casefold().replace("×", "x").replace("，", ",").replace("½", "1/2"))
    if not said or len(said) > 400:
        return None
    needed = any(word in said for word in _NEEDED if not word.isascii() or " " in word)
    if said in _ONCE:
        return Rhythm(1.0, 1.0, once=True)
    if said in _FIXED:
        return Rhythm(_FIXED[said], _FIXED[said])
    if said in WORDS:
        return Rhythm(WORDS[said], WORDS[said])
    once, found = False, None
    for match in _WORD.finditer(said):
        word = match.group(1)
        if word in {"prn", "sos"}:
            needed = True
        elif word in {"st", "stat"}:
            once = True
        elif word not in _AMBIGUOUS and found is None:
            found = WORDS[word]
    if found is None:
        for pattern, kind in _RANGES:
            span = pattern.search(said)
            if span is not None:
                one, other = sorted((float(span.group(1)), float(span.group(2))))
                if one <= 0:
                    return None
                low, high = (one, other) if kind == "times" else (24 / other, 24 / one)
                return Rhythm(low, high, as_needed=needed)
        found = _phrase(said)
    if found is None:
        # the longest fixed phrase wins: 隔日一次 before 每日
        held = (
            (len(said_), times)
            for said_, times in _FIXED.items()
            if said_ in said and said_ not in _EXACT_ONLY
        )
        found = max(held, default=(0, None))[1]
    if found is None and (once or any(word in said for word in _ONCE if not word.isascii())):
        return Rhythm(1.0, 1.0, once=True, as_needed=needed)
    if found is None and not needed:
        return None
    return Rhythm(found, found, as_needed=needed)


def _phrase(said: str) -> float | None:
    for pattern, kind, span in _PATTERNS:
        match = pattern.search(said)
        if match is None:
            continue
        value = _value(match.group(1))
        if value <= 0:
            return None
        return value / span if kind == "times" else 1.0 / (value * span)
    return None
