"""Define ``before``."""

import datetime as dt

from engine.operators._operator import Operator, instant
from engine.vocabulary import Type

__all__ = ["OPERATOR"]

OPERATOR = Operator(
    name="before",
    signatures=(
        (Type.DATE, Type.DATE),
        (Type.MOMENT, Type.MOMENT),
        (Type.DATE, Type.MOMENT),
        (Type.MOMENT, Type.DATE),
    ),
    zh="早于",
    en="is before",
    doc="The left day or moment is earlier.",
    py=lambda left, right: instant(left) < instant(right),
    examples=(
        ((dt.date(2026, 1, 1), dt.date(2026, 1, 2)), True),
        ((dt.date(2026, 1, 2), dt.date(2026, 1, 1)), False),
        ((None, dt.date(2026, 1, 1)), None),
    ),
)
