"""Define what an operator is, and the few helpers that several of them share."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from engine.vocabulary import Type

__all__ = ["EPSILON", "SCALARS", "Operator", "instant"]

EPSILON = 1e-6
"""Numbers closer than this are equal: the tolerance of the business-rules package, kept on purpose."""

SCALARS = (Type.TEXT, Type.NUMBER, Type.MONEY, Type.DATE, Type.MOMENT, Type.YES_NO)


@dataclass(frozen=True, slots=True)
class Operator:
    """One word of the rule language.

    ``signatures`` lists the operand types it takes, left one first; ``gives`` is the type of its result
    (``None``: that of the first operand). ``py`` gets operands that are all known unless ``strict`` is false,
    in which case it gets ``None`` for unknown ones. ``more`` names further keys of a leaf (``days``).
    ``examples`` pair operands with the expected result; ``None`` stands for unknown.
    """

    name: str
    signatures: tuple[tuple[Type, ...], ...]
    zh: str
    en: str
    doc: str
    py: Callable[..., Any]
    examples: tuple[tuple[tuple[Any, ...], Any], ...]
    gives: Type | None = Type.YES_NO
    strict: bool = True
    more: tuple[str, ...] = ()
    condition: bool = True  # usable as a leaf of `when`; else a value operator of `let`

    def __call__(self, *operands: Any) -> Any:
        """Apply it with three-valued logic."""
        if self.strict and None in operands:
            return None
        return self.py(*operands)


def instant(value: dt.date) -> dt.datetime:
    """Return a day or a moment as a moment, so that the two can be compared."""
    if isinstance(value, dt.datetime):
        return value
    return dt.datetime(value.year, value.month, value.day)
