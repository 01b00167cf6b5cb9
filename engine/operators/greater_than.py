"""Define ``greater_than``."""

from decimal import Decimal

from engine.operators._operator import EPSILON, Operator
from engine.vocabulary import Type

__all__ = ["OPERATOR"]

OPERATOR = Operator(
    name="greater_than",
    signatures=(
        (Type.NUMBER, Type.NUMBER),
        (Type.MONEY, Type.MONEY),
    ),
    zh="大于",
    en="is greater than",
    doc="The left side is greater; numbers by more than 1e-6, money exactly.",
    py=lambda left, right: left - right > (EPSILON if isinstance(left, float | int) else 0),
    examples=(
        ((2.0, 1.0), True),
        ((0.1 * 3, 0.3), False),
        ((Decimal("0.01"), Decimal(0)), True),
        ((None, 1.0), None),
    ),
)
