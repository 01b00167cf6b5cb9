"""Read FHIR dosage instructions: structure first, words where it is silent, else ``None``."""

from __future__ import annotations

import datetime as dt
import re
from functools import lru_cache

import msgspec

from adapters.emr.fhir import Node, NoteKind, Notes, codings, label, moment, node, nodes, number, text
from adapters.emr.frequency import Rhythm, read_frequency
from adapters.emr.routes import read_route, route_in_text
from adapters.emr.units import Measure, hours, measure

__all__ = ["Instruction", "days_of", "quantity", "read_instruction"]


class Instruction(msgspec.Struct):
    """One ``dosageInstruction`` as read; ``None`` is unknown."""

    sequence: int | None = None
    low: float | None = None  # of a single dose, in ``unit``
    high: float | None = None
    unit: Measure | None = None
    rate_low: float | None = None  # in ``rate_unit``, which carries its hours
    rate_high: float | None = None
    rate_unit: Measure | None = None
    duration_hours: float | None = None  # of one administration
    rhythm: Rhythm | None = None
    most_daily: float | None = None  # maxDosePerPeriod, a day, in ``most_unit``
    most_unit: Measure | None = None
    as_needed: bool | None = None
    count: float | None = None
    course_days: float | None = None
    start: dt.datetime | None = None
    end: dt.datetime | None = None
    route: str | None = None


def quantity(parent: Node, notes: Notes, path: str) -> tuple[float | None, Measure | None, str]:
    """Return value, measure and unit as written; a code and a unit that disagree are unknown."""
    value = number(parent, "value", notes, path)
    code, said = text(parent, "code", notes, path) or "", text(parent, "unit", notes, path) or ""
    coded = measure(code) if code and code != "1" else None
    spoken = measure(said) if said and said != code else None
    if (
        coded is not None
        and spoken is not None
        and (coded.kind, coded.factor) != (spoken.kind, spoken.factor)
    ):
        notes.add(NoteKind.DOSE, path, f"unit {said!r} and code {code!r} disagree")
        return None, None, said
    if value is not None and value < 0:
        notes.add(NoteKind.DOSE, path, "is negative")
        return None, None, said
    return value, coded or spoken, said or code


_PIECES = Measure("count", 1.0)


def read_instruction(
    item: Node, zone: dt.tzinfo | None, notes: Notes, path: str, *, unitless_is_count: bool = False
) -> Instruction:
    """Read one ``dosageInstruction``, structure first, its words where structure is silent."""
    found = Instruction()
    sequence = item.get("sequence")
    if isinstance(sequence, int) and not isinstance(sequence, bool):
        found.sequence = sequence
    needed = item.get("asNeededBoolean")
    if isinstance(needed, bool):
        found.as_needed = needed
    elif "asNeededCodeableConcept" in item:
        found.as_needed = True
    route = node(item, "route", notes, path)
    if route is not None:
        where = f"{path}.route"
        found.route = read_route(codings(route, notes, where), label(route, notes, where))
        if found.route is None:
            notes.add(NoteKind.DOSE, where, "route is not known", label(route, notes, where) or "")
    _timing(item, found, zone, notes, path)
    _amount(item, found, notes, path, unitless_is_count)
    most = node(item, "maxDosePerPeriod", notes, path)
    if most is not None:
        _most(most, found, notes, f"{path}.maxDosePerPeriod")
    words = item.get("text")
    if isinstance(words, str) and words:
        _words(words, found)
    if found.as_needed is None and found.rhythm is not None:
        found.as_needed = found.rhythm.as_needed  # a rhythm without asNeeded[x] is to be kept
    return found


def _timing(item: Node, found: Instruction, zone: dt.tzinfo | None, notes: Notes, path: str) -> None:
    timing = node(item, "timing", notes, path)
    if timing is None:
        return
    path = f"{path}.timing"
    repeat = node(timing, "repeat", notes, path)
    if repeat:
        where = f"{path}.repeat"
        found.rhythm = _repeat(repeat, notes, where)
        found.count = number(repeat, "countMax", notes, where) or number(repeat, "count", notes, where)
        span = number(repeat, "durationMax", notes, where) or number(repeat, "duration", notes, where)
        unit = hours(text(repeat, "durationUnit", notes, where) or "h")
        if span is not None and span > 0 and unit is not None:
            found.duration_hours = span * unit
        _bounds(repeat, found, zone, notes, where)
    if found.rhythm is None:
        code = node(timing, "code", notes, path)
        if code is not None:
            where = f"{path}.code"
            said = [
                word for _, value, display in codings(code, notes, where) for word in (value, display) if word
            ]
            said += [word for word in (text(code, "text", notes, where),) if word]
            found.rhythm = next(
                (rhythm for word in said if (rhythm := read_frequency(word)) is not None), None
            )
            if found.rhythm is None and said:
                notes.add(NoteKind.DOSE, where, "frequency is not known", said[-1][:60])
    events = timing.get("event")
    if found.rhythm is None and isinstance(events, list) and len(events) == 1:
        found.rhythm = Rhythm(1.0, 1.0, once=True)


def _repeat(repeat: Node, notes: Notes, path: str) -> Rhythm | None:
    """Return times a day = frequency x 24 h / period in hours (FHIR R4 Timing.repeat)."""
    times, most = number(repeat, "frequency", notes, path), number(repeat, "frequencyMax", notes, path)
    period, longest = number(repeat, "period", notes, path), number(repeat, "periodMax", notes, path)
    days = repeat.get("dayOfWeek")
    share = len(set(map(str, days))) / 7 if isinstance(days, list) and days else 1.0
    if times is None and most is None and period is None:
        for key in ("timeOfDay", "when"):
            moments = repeat.get(key)
            if isinstance(moments, list) and moments:
                return Rhythm(len(moments) * share, len(moments) * share)
        if share < 1.0:
            return Rhythm(share, share)
        count = number(repeat, "count", notes, path)
        return Rhythm(1.0, 1.0, once=True) if count == 1 else None
    span = hours(text(repeat, "periodUnit", notes, path) or "")
    if period is None or period <= 0 or span is None:
        return None
    least = times if times is not None else 1.0  # FHIR: frequency defaults to 1
    top = most if most is not None else least
    if least < 0 or top < least:
        return None
    widest = longest if longest is not None and longest > period else period
    return Rhythm(least * 24 / (widest * span) * share, top * 24 / (period * span) * share)


def _bounds(repeat: Node, found: Instruction, zone: dt.tzinfo | None, notes: Notes, path: str) -> None:
    period = node(repeat, "boundsPeriod", notes, path)
    if period is not None:
        found.start = moment(period, "start", zone, notes, f"{path}.boundsPeriod")
        found.end = moment(period, "end", zone, notes, f"{path}.boundsPeriod")
        if found.start is not None and found.end is not None and found.end > found.start:
            found.course_days = (found.end - found.start) / dt.timedelta(days=1)
        return
    span = node(repeat, "boundsDuration", notes, path)
    if span is None:
        bounds = node(repeat, "boundsRange", notes, path)
        span = None if bounds is None else node(bounds, "high", notes, f"{path}.boundsRange")
    if span is not None:
        found.course_days = days_of(span, notes, f"{path}.boundsDuration")


def days_of(duration: Node, notes: Notes, path: str) -> float | None:
    """Return the days in a FHIR Duration."""
    value = number(duration, "value", notes, path)
    unit = text(duration, "code", notes, path) or text(duration, "unit", notes, path) or ""
    span = hours(unit)
    return None if value is None or value <= 0 or span is None else value * span / 24


def _amount(item: Node, found: Instruction, notes: Notes, path: str, unitless_is_count: bool) -> None:
    entries = nodes(item, "doseAndRate", notes, path)
    if not entries:
        return
    entry = entries[0]
    if len(entries) > 1:  # the ordered dose, not the calculated one
        entry = next((one for one in entries if any(code == "ordered" for _, code, _ in codings(
            node(one, "type", notes, path), notes, path))), entry)  # fmt: skip
    where = f"{path}.doseAndRate"
    dose = node(entry, "doseQuantity", notes, where)
    if dose is not None:
        value, unit, written = quantity(dose, notes, f"{where}.doseQuantity")
        if unit is None and not written and unitless_is_count:
            unit = _PIECES
        found.low = found.high = value
        found.unit = unit
        if value is not None and unit is None:
            notes.add(NoteKind.DOSE, f"{where}.doseQuantity", f"unit is not known: {written[:30]!r}")
    else:
        span = node(entry, "doseRange", notes, where)
        if span is not None:
            found.low, found.high, found.unit = _range(span, notes, f"{where}.doseRange")
    _rate(entry, found, notes, where)


def _range(span: Node, notes: Notes, path: str) -> tuple[float | None, float | None, Measure | None]:
    lower, upper = node(span, "low", notes, path), node(span, "high", notes, path)
    low = quantity(lower, notes, f"{path}.low") if lower is not None else (None, None, "")
    high = quantity(upper, notes, f"{path}.high") if upper is not None else (None, None, "")
    unit = high[1] or low[1]
    if unit is None or (low[1] is not None and high[1] is not None and low[1].kind != high[1].kind):
        return None, None, None
    # The low end may be written in another unit of the same kind: 500 mg to 1 g.
    least = None if low[0] is None else low[0] * (low[1].factor / unit.factor if low[1] is not None else 1.0)
    return least, high[0], unit


def _rate(entry: Node, found: Instruction, notes: Notes, path: str) -> None:
    simple = node(entry, "rateQuantity", notes, path)
    if simple is not None:
        found.rate_high, found.rate_unit, _ = quantity(simple, notes, f"{path}.rateQuantity")
        found.rate_low = found.rate_high
    ratio = node(entry, "rateRatio", notes, path)
    if ratio is not None:
        value, unit, span = _per(ratio, notes, f"{path}.rateRatio")
        if value is not None and unit is not None and span is not None:
            found.rate_low = found.rate_high = value
            found.rate_unit = Measure(unit.kind, unit.factor, unit.piece, unit.per_kg, span)
    between = node(entry, "rateRange", notes, path)
    if between is not None:
        found.rate_low, found.rate_high, found.rate_unit = _range(between, notes, f"{path}.rateRange")


def _per(ratio: Node, notes: Notes, path: str) -> tuple[float | None, Measure | None, float | None]:
    """Return value, measure and hours of a Ratio of a dose over a time."""
    above, below = node(ratio, "numerator", notes, path), node(ratio, "denominator", notes, path)
    if above is None or below is None:
        return None, None, None
    value, unit, _ = quantity(above, notes, f"{path}.numerator")
    days = days_of(below, notes, f"{path}.denominator")
    return value, unit, None if days is None else days * 24


def _most(ratio: Node, found: Instruction, notes: Notes, path: str) -> None:
    value, unit, span = _per(ratio, notes, path)
    if value is not None and unit is not None and span is not None:
        # A ceiling over less than a day holds all day long; over more than a day it may all fall on one.
        found.most_daily, found.most_unit = value * 24 / span if span < 24 else value, unit


_NOT_A_DOSE = re.compile(r"最大|不超过|最多|上限|max|exceed|up to", re.IGNORECASE)
_DOSE = re.compile(
    r"(?<![\d.])(\d+(?:\.\d+)?|半|一|两)\s*(?:(?:-|~|–|至|到)\s*(\d+(?:\.\d+)?)\s*)?"
    r"(mg|g|μg|µg|ug|mcg|毫克|微克|克|万单位|万iu|万u|iu|单位|u|ml|毫升|片|粒|丸|支|袋|包|贴|揿|喷|tablets?|tabs?|capsules?|puffs?)"
    r"(?![a-z/:×x*])",
    re.IGNORECASE,
)
_COUNTED = {"半": 0.5, "一": 1.0, "两": 2.0}


@lru_cache(maxsize=4096)
def _dose_in_text(words: str) -> tuple[float, float, Measure] | None:
    """Return the one dose that a sentence states; several, or a ceiling, are none."""
    if len(words) > 400 or _NOT_A_DOSE.search(words):
        return None
    matches = list(_DOSE.finditer(words))
    if len(matches) != 1:
        return None
    unit = measure(matches[0].group(3))
    if unit is None:
        return None
    low = _COUNTED.get(matches[0].group(1)) or float(matches[0].group(1))
    high = float(matches[0].group(2)) if matches[0].group(2) else low
    return (low, high, unit) if high >= low else None


def _words(words: str, found: Instruction) -> None:
    rhythm = read_frequency(words)
    if rhythm is not None:
        if found.rhythm is None and not _NOT_A_DOSE.search(words):
            found.rhythm = rhythm
        if rhythm.as_needed and found.as_needed is None:
            found.as_needed = True
    if found.high is None and found.low is None and found.rate_high is None:
        said = _dose_in_text(words)
        if said is not None:
            found.low, found.high, found.unit = said
    if found.route is None:
        found.route = route_in_text(words)
