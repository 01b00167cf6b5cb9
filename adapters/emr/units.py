"""Convert what is written on orders and reports to the units of the facts, once per unit, by ``pint``.

``pint`` only ever sees names from the tables below: its parser reads ``MG`` as megagauss and evaluates
powers, and neither must meet a request. Conversions are kept, so the hot path multiplies and no more.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Literal

import msgspec

if TYPE_CHECKING:
    import pint

__all__ = ["Measure", "hours", "lab_factor", "measure", "warm"]

Kind = Literal["mass", "iu", "volume", "count"]


class Measure(msgspec.Struct, frozen=True):
    """What a unit measures and its factor to mg, IU, mL or 1; ``per_hours`` makes it a rate."""

    kind: Kind
    factor: float
    piece: str = ""  # what is counted: tablet, capsule, ampoule …
    per_kg: bool = False
    per_hours: float | None = None


_MASS = {
    "mg": "milligram", "毫克": "milligram", "milligram": "milligram", "milligrams": "milligram",
    "g": "gram", "gm": "gram", "gram": "gram", "grams": "gram", "克": "gram", "ug": "microgram",
    "mcg": "microgram", "μg": "microgram", "µg": "microgram", "微克": "microgram", "microgram": "microgram",
    "micrograms": "microgram", "ng": "nanogram", "纳克": "nanogram", "kg": "kilogram",
}  # fmt: skip
_VOLUME = {
    "ml": "milliliter", "毫升": "milliliter", "milliliter": "milliliter", "cc": "milliliter", "l": "liter",
    "升": "liter", "ul": "microliter", "μl": "microliter", "µl": "microliter", "dl": "deciliter",
}  # fmt: skip
_UNITS = {
    "iu": "iu", "u": "iu", "[iu]": "iu", "[usp'u]": "iu", "unt": "iu", "unit": "iu", "units": "iu",
    "单位": "iu", "国际单位": "iu", "万iu": "ten_thousand_iu", "万u": "ten_thousand_iu",
    "万单位": "ten_thousand_iu", "万国际单位": "ten_thousand_iu", "k[iu]": "kilo_iu", "ku": "kilo_iu",
}  # fmt: skip
_PIECES = {
    "片": "tablet", "tablet": "tablet", "tablets": "tablet", "tab": "tablet", "tabs": "tablet",
    "{tbl}": "tablet", "tbl": "tablet", "{tablet}": "tablet", "[tablet]": "tablet", "粒": "capsule",
    "capsule": "capsule", "capsules": "capsule", "cap": "capsule", "caps": "capsule",
    "{capsule}": "capsule", "丸": "pill", "pill": "pill", "支": "ampoule", "ampoule": "ampoule",
    "ampule": "ampoule", "amp": "ampoule", "安瓿": "ampoule", "瓶": "bottle", "bottle": "bottle",
    "vial": "vial", "袋": "bag", "bag": "bag", "包": "sachet", "sachet": "sachet", "packet": "sachet",
    "贴": "patch", "patch": "patch", "patches": "patch", "枚": "suppository", "suppository": "suppository",
    "栓": "suppository", "supp": "suppository", "揿": "puff", "喷": "puff", "吸": "puff", "puff": "puff",
    "puffs": "puff", "actuat": "puff", "actuation": "puff", "s": "tablet",
}  # fmt: skip
_TIME = {
    "s": "second", "sec": "second", "秒": "second", "min": "minute", "分": "minute", "分钟": "minute",
    "minute": "minute", "h": "hour", "hr": "hour", "hour": "hour", "hours": "hour", "小时": "hour",
    "d": "day", "day": "day", "days": "day", "日": "day", "天": "day", "24h": "day", "wk": "week",
    "week": "week", "weeks": "week", "周": "week", "mo": "month", "month": "month", "月": "month",
    "a": "year", "year": "year", "年": "year",
}  # fmt: skip


@lru_cache(maxsize=1)
def _registry() -> pint.UnitRegistry[float]:
    import pint

    registry: pint.UnitRegistry[float] = pint.UnitRegistry(cache_folder=None)
    registry.define("iu = [biological_activity] = international_unit")
    registry.define("kilo_iu = 1000 * iu")
    registry.define("ten_thousand_iu = 10000 * iu")
    registry.define("month_of_30_days = 30 * day")
    return registry


@lru_cache(maxsize=512)
def _factor(one: str, other: str) -> float:
    return float(_registry().Quantity(1.0, one).to(other).magnitude)


@lru_cache(maxsize=256)
def hours(unit: str) -> float | None:
    """Return the hours in one of this unit of time (FHIR ``periodUnit``); a month counts 30 days."""
    name = _TIME.get(unit.strip().casefold())
    if name is None:
        return None
    return _factor("month_of_30_days" if name == "month" else name, "hour")


@lru_cache(maxsize=4096)
def measure(unit: str) -> Measure | None:
    """Return what a dose unit measures; ``None`` where it is not known (mmol, mEq, drops, %).

    >>> measure("g").factor, measure("万单位").factor
    (1000.0, 10000.0)
    """
    written = unit.strip().casefold().replace(" ", "")
    head, *denominators = written.split("/")
    per_kg, per_hours = False, None
    for denominator in denominators:
        if denominator in {"kg", "公斤", "千克"} and not per_kg:
            per_kg = True
        elif denominator in {"次", "dose", "time"}:
            continue
        elif (span := hours(denominator)) is not None and per_hours is None:
            per_hours = span
        else:
            return None
    if head in _MASS:
        return Measure("mass", _factor(_MASS[head], "milligram"), "", per_kg, per_hours)
    if head in _UNITS:
        return Measure("iu", _factor(_UNITS[head], "iu"), "", per_kg, per_hours)
    if head in _VOLUME:
        return Measure("volume", _factor(_VOLUME[head], "milliliter"), "", per_kg, per_hours)
    if head in _PIECES and not per_kg:
        return Measure("count", 1.0, _PIECES[head], False, per_hours)
    return None


_LAB = {
    "umol/l": "micromole/liter", "μmol/l": "micromole/liter", "µmol/l": "micromole/liter",
    "mmol/l": "millimole/liter", "mol/l": "mole/liter", "meq/l": "millimole/liter",
    "nmol/l": "nanomole/liter", "mg/dl": "milligram/deciliter", "mg/l": "milligram/liter",
    "g/l": "gram/liter", "g/dl": "gram/deciliter", "ug/l": "microgram/liter", "μg/l": "microgram/liter",
    "ng/ml": "nanogram/milliliter", "ug/ml": "microgram/milliliter", "μg/ml": "microgram/milliliter",
    "mg/ml": "milligram/milliliter", "pg/ml": "picogram/milliliter", "u/l": "iu/liter", "iu/l": "iu/liter",
    "[iu]/l": "iu/liter", "u/ml": "iu/milliliter", "10*9/l": "giga/liter", "10^9/l": "giga/liter",
    "10*3/ul": "giga/liter", "10^3/ul": "giga/liter", "k/ul": "giga/liter", "10*6/ul": "tera/liter",
    "10*12/l": "tera/liter", "10^12/l": "tera/liter", "kg": "kilogram", "公斤": "kilogram",
    "千克": "kilogram", "g": "gram", "克": "gram", "[lb_av]": "pound", "lb": "pound", "斤": "half_kilogram",
    "cm": "centimeter", "厘米": "centimeter", "m": "meter", "米": "meter", "mm": "millimeter",
    "[in_i]": "inch", "in": "inch", "mm[hg]": "mmHg", "mmhg": "mmHg", "kpa": "kilopascal", "s": "second",
    "ms": "millisecond", "ml/min/{1.73_m2}": "milliliter/minute", "ml/min/1.73m2": "milliliter/minute",
    "ml/min/1.73m²": "milliliter/minute", "ml/min/1.73m^2": "milliliter/minute",
    "ml/(min·1.73m2)": "milliliter/minute", "ml/min": "milliliter/minute",
    "ml/min/1.73": "milliliter/minute", "%": "percent_", "1": "one_", "{inr}": "one_", "{ratio}": "one_",
    "": "one_",
}  # fmt: skip


@lru_cache(maxsize=1)
def _lab_registry() -> pint.UnitRegistry[float]:
    registry = _registry()
    for definition in (
        "giga_cells = [cells]",
        "half_kilogram = 0.5 * kilogram",
        "percent_ = [share]",
        "one_ = [ratio]",
    ):
        registry.define(definition)
    registry.define("tera_cells = 1000 * giga_cells")
    return registry


@lru_cache(maxsize=2048)
def lab_factor(unit: str, canonical: str, molar_mass: float | None) -> float | None:
    """Return what to multiply a result by to get the canonical unit; ``None`` where it cannot be.

    ``molar_mass`` in g/mol joins mass and amount of substance: creatinine 113.12 makes 1 mg/dL 88.4 umol/L.
    """
    import pint

    one, other = _LAB.get(unit.strip().casefold().replace(" ", "")), _LAB.get(canonical.casefold())
    if one is None or other is None:
        return None
    if one == other:
        return 1.0
    registry = _lab_registry()
    first = registry.Quantity(1.0, one.replace("giga/", "giga_cells/").replace("tera/", "tera_cells/"))
    target = other.replace("giga/", "giga_cells/").replace("tera/", "tera_cells/")
    try:
        return float(first.to(target).magnitude)
    except pint.DimensionalityError:
        if molar_mass is None:
            return None
    molar = registry.Quantity(molar_mass, "gram/mole")
    for joined in (first / molar, first * molar):
        try:
            return float(joined.to(target).magnitude)
        except pint.DimensionalityError:
            continue
    return None


def warm() -> None:
    """Convert every unit we know once, so that no request waits for ``pint`` to load."""
    for unit in (*_MASS, *_VOLUME, *_UNITS, *_PIECES):
        measure(unit)
    for unit in _TIME:
        hours(unit)
    lab_factor("mg/dL", "umol/L", 113.12)
