"""Define ``shares_no_elements_with``."""

from engine.operators._operator import Operator
from engine.vocabulary import Type

__all__ = ["OPERATOR"]

OPERATOR = Operator(
    name="shares_no_elements_with",
    signatures=((Type.TEXT_SET, Type.TEXT_SET),),
    zh="无一属于",
    en="shares no elements with",
    doc="The sets have nothing in common.",
    py=lambda left, right: left.isdisjoint(right),
    examples=(
        ((frozenset("a"), frozenset("b")), True),
        ((frozenset("ab"), frozenset("b")), False),
        ((None, frozenset("a")), None),
    ),
)
