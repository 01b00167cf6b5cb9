"""Compute single and daily doses of one ingredient from the instructions of an order.

A range gives a low and a high; *as needed* is a ceiling (``maxDosePerPeriod`` where it is stated);
instructions of one ``sequence`` add up, of several phases the extremes count. What is not certain is
``None``: a rule then says *not checked*.
"""

from __future__ import annotations

import msgspec

from adapters.emr.instruction import Instruction
from adapters.emr.strength import Strength
from adapters.emr.units import Measure

__all__ = ["Dose", "combine", "dose_of"]


class Dose(msgspec.Struct):
    """What of one ingredient is given at once and a day: mg, and IU kept apart from it."""

    single_mg_low: float | None = None
    single_mg: float | None = None
    daily_mg_low: float | None = None
    daily_mg: float | None = None
    single_iu: float | None = None
    daily_iu: float | None = None


def _in(
    value: float | None, unit: Measure | None, strength: Strength | None, alone: bool, weight: float | None
) -> tuple[float | None, float | None]:
    """Return (mg, IU) of a value; mass of a product with several ingredients belongs to none of them."""
    if value is None or unit is None:
        return None, None
    if unit.per_kg:
        if weight is None:
            return None, None
        value *= weight
    if unit.kind == "mass":
        return (value * unit.factor if alone else None), None
    if unit.kind == "iu":
        return None, (value * unit.factor if alone else None)
    return (None, None) if strength is None else strength.of(value, unit)


def _x(one: float | None, other: float | None) -> float | None:
    return None if one is None or other is None else one * other


def dose_of(found: Instruction, strength: Strength | None, alone: bool, weight: float | None) -> Dose:
    """Return what one instruction gives of one ingredient; ``alone``: the product has no other ingredient."""
    rhythm = found.rhythm
    times_low = None if rhythm is None else rhythm.low
    times_high = None if rhythm is None else rhythm.high
    if (
        found.high is None
        and found.low is None
        and found.rate_high is not None
        and found.rate_unit is not None
    ):
        return _infused(found, strength, alone, weight, times_low, times_high)
    high_mg, high_iu = _in(found.high, found.unit, strength, alone, weight)
    low_mg = high_mg if found.low == found.high else _in(found.low, found.unit, strength, alone, weight)[0]
    daily_mg, daily_iu = _x(high_mg, times_high), _x(high_iu, times_high)
    low_daily: float | None = _x(low_mg, times_low)
    if found.as_needed or (rhythm is not None and rhythm.as_needed):
        low_daily = None  # perhaps none at all
        most_mg, most_iu = _in(found.most_daily, found.most_unit, strength, alone, weight)
        daily_mg = most_mg if most_mg is not None else daily_mg
        daily_iu = most_iu if most_iu is not None else daily_iu
    return Dose(low_mg, high_mg, low_daily, daily_mg, high_iu, daily_iu)


def _infused(
    found: Instruction,
    strength: Strength | None,
    alone: bool,
    weight: float | None,
    low: float | None,
    high: float | None,
) -> Dose:
    """Return rate x duration; a rate without duration and without rhythm runs all day."""
    unit = found.rate_unit
    if unit is None or unit.per_hours is None:
        return Dose()
    flat = Measure(unit.kind, unit.factor, unit.piece, unit.per_kg)
    mg, iu = _in(found.rate_high, flat, strength, alone, weight)
    least, _ = _in(found.rate_low, flat, strength, alone, weight)
    per_hour = 1.0 / unit.per_hours
    if found.duration_hours is None:
        if low is not None or high is not None:
            return Dose()  # given at times, for how long is not said
        day = 24.0 * per_hour
        return Dose(None, None, _x(least, day), _x(mg, day), None, _x(iu, day))
    span = found.duration_hours * per_hour
    return Dose(
        _x(least, span),
        _x(mg, span),
        _x(_x(least, span), low),
        _x(_x(mg, span), high),
        _x(iu, span),
        _x(_x(iu, span), high),
    )


def combine(doses: list[tuple[int | None, Dose]]) -> Dose:
    """Join the instructions of one order: one ``sequence`` adds up, of several phases the extremes count."""
    if len(doses) == 1:
        return doses[0][1]
    if not doses:
        return Dose()
    phases: dict[int | None, list[Dose]] = {}
    for sequence, dose in doses:
        phases.setdefault(sequence, []).append(dose)
    if len(phases) > 1 and None in phases:  # mixed: what has no sequence runs beside every phase
        beside = phases.pop(None)
        phases = {sequence: together + beside for sequence, together in phases.items()}
    joined = [_together(together) for together in phases.values()]
    return Dose(
        _least([one.single_mg_low for one in joined]),
        _most_of([one.single_mg for one in joined]),
        _least([one.daily_mg_low for one in joined]),
        _most_of([one.daily_mg for one in joined]),
        _most_of([one.single_iu for one in joined]),
        _most_of([one.daily_iu for one in joined]),
    )


def _together(doses: list[Dose]) -> Dose:
    return Dose(
        _least([one.single_mg_low for one in doses]),
        _most_of([one.single_mg for one in doses]),
        _sum([one.daily_mg_low for one in doses]),
        _sum([one.daily_mg for one in doses]),
        _most_of([one.single_iu for one in doses]),
        _sum([one.daily_iu for one in doses]),
    )


def _known(values: list[float | None]) -> list[float] | None:
    known = [value for value in values if value is not None]
    return known if len(known) == len(values) else None


def _least(values: list[float | None]) -> float | None:
    known = _known(values)
    return None if known is None else min(known)


def _most_of(values: list[float | None]) -> float | None:
    known = _known(values)
    return None if known is None else max(known)


def _sum(values: list[float | None]) -> float | None:
    known = _known(values)
    return None if known is None else sum(known)
