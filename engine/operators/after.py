"""Define ``after``."""

import datetime as dt

from engine.operators._operator import Operator, instant
from engine.vocabulary import Type

__all__ = ["OPERATOR"]

OPERATOR = Operator(
    name="after",
    signatures=(
        (Type.DATE, Type.DATE),
        (Type.MOMENT, Type.MOMENT),
        (Type.DATE, Type.MOMENT),
        (Type.MOMENT, Type.DATE),
    ),
    zh="晚于",
    en="is after",
    doc="The left day or moment is later.",
    py=lambda left, right: instant(left) > instant(right),
    examples=(
        ((dt.date(2026, 1, 1), dt.date(2026, 1, 2)), False),
        ((dt.date(2026, 1, 2), dt.date(2026, 1, 1)), True),
        ((None, dt.date(2026, 1, 1)), None),
    ),
)
