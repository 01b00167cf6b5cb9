"""Define ``overlaps``."""

import datetime as dt

from engine.operators._operator import Operator
from engine.vocabulary import Type

__all__ = ["OPERATOR"]

OPERATOR = Operator(
    name="overlaps",
    signatures=((Type.INTERVAL, Type.INTERVAL),),
    zh="时间重叠",
    en="overlaps",
    doc="The two periods share a moment; each holds its start, not its end; an instant holds itself.",
    py=lambda left, right: (
        left[0] <= right[0] < max(left[1], left[0] + dt.timedelta.resolution)
        or right[0] <= left[0] < max(right[1], right[0] + dt.timedelta.resolution)
    ),
    examples=(
        (
            ((dt.datetime(2026, 1, 1), dt.datetime(2026, 1, 5)), (dt.datetime(2026, 1, 4), dt.datetime.max)),
            True,
        ),
        (
            ((dt.datetime(2026, 1, 1), dt.datetime(2026, 1, 5)), (dt.datetime(2026, 1, 5), dt.datetime.max)),
            False,
        ),
        ((None, (dt.datetime(2026, 1, 5), dt.datetime.max)), None),
    ),
)
