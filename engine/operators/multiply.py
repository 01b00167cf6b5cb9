"""Define ``multiply``."""

from decimal import Decimal

from engine.operators._operator import Operator
from engine.vocabulary import Type

__all__ = ["OPERATOR"]

OPERATOR = Operator(
    name="multiply",
    signatures=(
        (Type.NUMBER, Type.NUMBER),
        (Type.MONEY, Type.NUMBER),
        (Type.NUMBER, Type.MONEY),
    ),
    zh="乘",
    en="times",
    doc="The product; money times a number is money.",
    py=lambda left, right: (
        Decimal(str(left)) * Decimal(str(right))
        if isinstance(left, Decimal) or isinstance(right, Decimal)
        else left * right
    ),
    examples=(((2.0, 3.0), 6.0), ((3.0, Decimal("1.10")), Decimal("3.300")), ((None, 2.0), None)),
    gives=None,
    condition=False,
)
