"""Define ``less_than``."""

from decimal import Decimal

from engine.operators._operator import EPSILON, Operator
from engine.vocabulary import Type

__all__ = ["OPERATOR"]

OPERATOR = Operator(
    name="less_than",
    signatures=(
        (Type.NUMBER, Type.NUMBER),
        (Type.MONEY, Type.MONEY),
    ),
    zh="小于",
    en="is less than",
    doc="The left side is smaller; numbers by more than 1e-6, money exactly.",
    py=lambda left, right: right - left > (EPSILON if isinstance(left, float | int) else 0),
    examples=(
        ((1.0, 2.0), True),
        ((0.3, 0.1 * 3), False),
        ((Decimal(0), Decimal("0.01")), True),
        ((None, 1.0), None),
    ),
)
