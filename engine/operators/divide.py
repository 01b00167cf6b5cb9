"""Define ``divide``."""

from decimal import Decimal

from engine.operators._operator import Operator
from engine.vocabulary import Type

__all__ = ["OPERATOR"]

OPERATOR = Operator(
    name="divide",
    signatures=(
        (Type.NUMBER, Type.NUMBER),
        (Type.MONEY, Type.NUMBER),
    ),
    zh="除以",
    en="divided by",
    doc="The quotient; unknown when the divisor is zero.",
    py=lambda left, right: (
        None if right == 0 else left / (Decimal(str(right)) if isinstance(left, Decimal) else right)
    ),
    examples=(
        ((6.0, 3.0), 2.0),
        ((6.0, 0.0), None),
        ((None, 3.0), None),
        ((Decimal(3), 2.0), Decimal("1.5")),
    ),
    gives=None,
    condition=False,
)
