"""Define ``equal_to_case_insensitive``."""

from engine.operators._operator import Operator
from engine.vocabulary import Type

__all__ = ["OPERATOR"]

OPERATOR = Operator(
    name="equal_to_case_insensitive",
    signatures=((Type.TEXT, Type.TEXT),),
    zh="等于（不分大小写）",
    en="is equal to, ignoring case",
    doc="The texts are the same but for upper and lower case.",
    py=lambda left, right: left.lower() == right.lower(),
    examples=((("Abc", "aBC"), True), (("a", "b"), False), ((None, "a"), None)),
)
