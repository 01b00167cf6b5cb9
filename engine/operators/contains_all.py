"""Define ``contains_all``."""

from engine.operators._operator import Operator
from engine.vocabulary import Type

__all__ = ["OPERATOR"]

OPERATOR = Operator(
    name="contains_all",
    signatures=((Type.TEXT_SET, Type.TEXT_SET),),
    zh="包含全部",
    en="contains all of",
    doc="The set holds every listed element.",
    py=lambda left, right: left >= right,
    examples=(
        ((frozenset("ab"), frozenset("a")), True),
        ((frozenset("a"), frozenset("ab")), False),
        ((None, frozenset("a")), None),
    ),
)
