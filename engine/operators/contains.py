"""Define ``contains``."""

from engine.operators._operator import Operator
from engine.vocabulary import Type

__all__ = ["OPERATOR"]

OPERATOR = Operator(
    name="contains",
    signatures=((Type.TEXT, Type.TEXT),),
    zh="包含",
    en="contains",
    doc="The text holds the other text.",
    py=lambda left, right: right in left,
    examples=((("阿莫西林胶囊", "西林"), True), (("a", "b"), False), ((None, "b"), None)),
)
