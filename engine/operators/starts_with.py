"""Define ``starts_with``."""

from engine.operators._operator import Operator
from engine.vocabulary import Type

__all__ = ["OPERATOR"]

OPERATOR = Operator(
    name="starts_with",
    signatures=((Type.TEXT, Type.TEXT),),
    zh="开头为",
    en="starts with",
    doc="The text begins with the other.",
    py=lambda left, right: left.startswith(right),
    examples=((("I63.9", "I63"), True), (("J18", "I"), False), ((None, "I"), None)),
)
