"""Define ``add``."""

from engine.operators._operator import Operator
from engine.vocabulary import Type

__all__ = ["OPERATOR"]

OPERATOR = Operator(
    name="add",
    signatures=(
        (Type.NUMBER, Type.NUMBER),
        (Type.MONEY, Type.MONEY),
    ),
    zh="加",
    en="plus",
    doc="The sum.",
    py=lambda left, right: left + right,
    examples=(((2.0, 3.0), 5.0), ((None, 2.0), None)),
    gives=None,
    condition=False,
)
