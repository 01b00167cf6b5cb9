"""Define ``ends_with``."""

from engine.operators._operator import Operator
from engine.vocabulary import Type

__all__ = ["OPERATOR"]

OPERATOR = Operator(
    name="ends_with",
    signatures=((Type.TEXT, Type.TEXT),),
    zh="结尾为",
    en="ends with",
    doc="The text ends with the other.",
    py=lambda left, right: left.endswith(right),
    examples=((("片剂", "剂"), True), (("片剂", "片"), False), ((None, "剂"), None)),
)
