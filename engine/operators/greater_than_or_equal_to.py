"""Define ``greater_than_or_equal_to``."""

from decimal import Decimal

from engine.operators._operator import EPSILON, Operator
from engine.vocabulary import Type

__all__ = ["OPERATOR"]

OPERATOR = Operator(
    name="greater_than_or_equal_to",
    signatures=(
        (Type.NUMBER, Type.NUMBER),
        (Type.MONEY, Type.MONEY),
    ),
    zh="大于等于",
    en="is at least",
    doc="The left side is not smaller; numbers within 1e-6.",
    py=lambda left, right: left - right >= (-EPSILON if isinstance(left, float | int) else 0),
    examples=(((1.0, 1.0), True), ((0.9, 1.0), False), ((Decimal(1), Decimal(1)), True), ((1.0, None), None)),
)
