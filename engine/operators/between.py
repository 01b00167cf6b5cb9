"""Define ``between``."""

from engine.operators._operator import EPSILON, Operator
from engine.vocabulary import Type

__all__ = ["OPERATOR"]

OPERATOR = Operator(
    name="between",
    signatures=((Type.NUMBER, Type.NUMBER_PAIR),),
    zh="介于",
    en="is between",
    doc="The number lies in [low, high], both ends included, within 1e-6.",
    py=lambda value, pair: pair[0] - EPSILON <= value <= pair[1] + EPSILON,
    examples=(((5.0, (1.0, 5.0)), True), ((6.0, (1.0, 5.0)), False), ((None, (1.0, 5.0)), None)),
)
