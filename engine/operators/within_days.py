"""Define ``within_days``."""

import datetime as dt

from engine.operators._operator import Operator, instant
from engine.vocabulary import Type

__all__ = ["OPERATOR"]

OPERATOR = Operator(
    name="within_days",
    signatures=(
        (Type.DATE, Type.DATE, Type.NUMBER),
        (Type.MOMENT, Type.MOMENT, Type.NUMBER),
        (Type.DATE, Type.MOMENT, Type.NUMBER),
        (Type.MOMENT, Type.DATE, Type.NUMBER),
    ),
    zh="相距不超过天数",
    en="is within days of",
    doc="The two lie at most `days` days apart, in either order.",
    py=lambda left, right, days: abs(instant(left) - instant(right)) <= dt.timedelta(days=days),
    examples=(
        ((dt.date(2026, 1, 1), dt.date(2026, 1, 3), 2.0), True),
        ((dt.date(2026, 1, 1), dt.date(2026, 1, 4), 2.0), False),
        ((None, dt.date(2026, 1, 4), 2.0), None),
    ),
    more=("days",),
)
