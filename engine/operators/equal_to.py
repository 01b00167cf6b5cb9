"""Define ``equal_to``."""

from engine.operators._operator import EPSILON, Operator
from engine.vocabulary import Type

__all__ = ["OPERATOR"]

OPERATOR = Operator(
    name="equal_to",
    signatures=(
        (Type.TEXT, Type.TEXT),
        (Type.NUMBER, Type.NUMBER),
        (Type.MONEY, Type.MONEY),
        (Type.DATE, Type.DATE),
        (Type.MOMENT, Type.MOMENT),
    ),
    zh="等于",
    en="is equal to",
    doc="Both sides are the same; numbers within 1e-6.",
    py=lambda left, right: (
        abs(left - right) <= EPSILON
        if isinstance(left, float | int) and not isinstance(left, bool)
        else left == right
    ),
    examples=((("a", "a"), True), ((0.1 * 3, 0.3), True), (("a", "b"), False), ((None, "a"), None)),
)
