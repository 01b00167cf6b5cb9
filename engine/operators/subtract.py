"""Define ``subtract``."""

from engine.operators._operator import Operator
from engine.vocabulary import Type

__all__ = ["OPERATOR"]

OPERATOR = Operator(
    name="subtract",
    signatures=(
        (Type.NUMBER, Type.NUMBER),
        (Type.MONEY, Type.MONEY),
    ),
    zh="减",
    en="minus",
    doc="The difference.",
    py=lambda left, right: left - right,
    examples=(((5.0, 3.0), 2.0), ((None, 2.0), None)),
    gives=None,
    condition=False,
)
