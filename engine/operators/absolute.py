"""Define ``absolute``."""

from engine.operators._operator import Operator
from engine.vocabulary import Type

__all__ = ["OPERATOR"]

OPERATOR = Operator(
    name="absolute",
    signatures=(
        (Type.NUMBER,),
        (Type.MONEY,),
    ),
    zh="绝对值",
    en="absolute value of",
    doc="The value without its sign.",
    py=abs,
    examples=(((-2.0,), 2.0), ((None,), None)),
    gives=None,
    condition=False,
)
