"""Define ``days_between``."""

import datetime as dt

from engine.operators._operator import Operator, instant
from engine.vocabulary import Type

__all__ = ["OPERATOR"]

OPERATOR = Operator(
    name="days_between",
    signatures=(
        (Type.DATE, Type.DATE),
        (Type.MOMENT, Type.MOMENT),
        (Type.DATE, Type.MOMENT),
        (Type.MOMENT, Type.DATE),
    ),
    zh="相距天数",
    en="days between",
    doc="Days from the first to the second; negative when the second is earlier.",
    py=lambda left, right: (instant(right) - instant(left)) / dt.timedelta(days=1),
    examples=(((dt.date(2026, 1, 1), dt.date(2026, 1, 3)), 2.0), ((None, dt.date(2026, 1, 3)), None)),
    gives=Type.NUMBER,
    condition=False,
)
