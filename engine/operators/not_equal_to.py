"""Define ``not_equal_to``."""

from engine.operators._operator import EPSILON, Operator
from engine.vocabulary import Type

__all__ = ["OPERATOR"]

OPERATOR = Operator(
    name="not_equal_to",
    signatures=(
        (Type.TEXT, Type.TEXT),
        (Type.NUMBER, Type.NUMBER),
        (Type.MONEY, Type.MONEY),
        (Type.DATE, Type.DATE),
        (Type.MOMENT, Type.MOMENT),
    ),
    zh="不等于",
    en="is not equal to",
    doc="The sides differ; numbers by more than 1e-6.",
    py=lambda left, right: (
        abs(left - right) > EPSILON
        if isinstance(left, float | int) and not isinstance(left, bool)
        else left != right
    ),
    examples=((("a", "b"), True), ((0.1 * 3, 0.3), False), (("a", None), None)),
)
