"""Hold numbers that policy sets: each keyed by the day from which it holds, each with its reference."""

from __future__ import annotations

import bisect
import datetime as dt
import math
from decimal import Decimal, InvalidOperation
from typing import Any, Literal

import msgspec

from engine.decision import Words
from engine.errors import RuleError

__all__ = ["Parameter", "ParameterValue", "read_parameter"]


class ParameterValue(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One value and the day from which it holds; ``read_on`` is ``None``: from memory, to be verified."""

    since: dt.date = msgspec.field(name="from")
    value: float | str | bool | tuple[str, ...]
    reference: str
    read_on: dt.date | None = None


class Parameter(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A dated parameter; ``values`` are in order of their days."""

    id: str
    title: Words
    type: Literal["number", "money", "text", "text_set", "boolean", "date"]
    values: tuple[ParameterValue, ...]
    unit: str = ""
    note: str = ""

    def at(self, day: dt.date) -> ParameterValue | None:
        """Return the value that holds on this day, or ``None`` before the first one."""
        index = bisect.bisect_right(self.values, day, key=lambda value: value.since)
        return self.values[index - 1] if index else None


def read_parameter(raw: Any, place: str) -> tuple[Parameter | None, list[RuleError]]:
    """Read one parameter file; returns it, or ``None`` and the fault."""
    try:
        parameter = msgspec.convert(raw, Parameter)
    except msgspec.ValidationError as error:
        what, _, path = str(error).partition(" - at ")
        where = f"{place}: {path.strip('`').removeprefix('$.') or 'file'}"
        return None, [RuleError(where, f"{what}.", "See a parameter that works beside it.", "P01")]
    days = [value.since for value in parameter.values]
    if days != sorted(set(days)) or not days:
        return None, [
            RuleError(
                f"{place}: values",
                "are empty or not in order of their days.",
                "Sort by `from`, each day once.",
                "P01",
            )
        ]
    wrong = [value for value in parameter.values if not _fits(value.value, parameter.type)]
    return (None if wrong else parameter), [
        RuleError(
            f"{place}: values[{parameter.values.index(value)}].value",
            f"is {value.value!r}, which is no {parameter.type}.",
            f"Write a {parameter.type}.",
            "P01",
        )
        for value in wrong
    ]


def _fits(value: Any, type_: str) -> bool:
    try:
        if type_ == "date":
            dt.date.fromisoformat(value)
        elif type_ == "money":
            return not isinstance(value, bool | tuple) and Decimal(str(value)).is_finite()
        elif type_ == "number":
            return isinstance(value, float | int) and not isinstance(value, bool) and math.isfinite(value)
        else:
            return isinstance(value, {"text": str, "text_set": tuple, "boolean": bool}[type_])
    except (TypeError, ValueError, InvalidOperation):
        return False
    return True
