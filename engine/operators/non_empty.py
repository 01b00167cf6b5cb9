"""Define ``non_empty``."""

from engine.operators._operator import Operator
from engine.vocabulary import Type

__all__ = ["OPERATOR"]

OPERATOR = Operator(
    name="non_empty",
    signatures=((Type.TEXT, Type.NOTHING),),
    zh="非空",
    en="is not empty",
    doc="The text has at least one character.",
    py=bool,
    examples=((("a",), True), (("",), False), ((None,), None)),
)
