"""Define ``shares_at_least_one_element_with``."""

from engine.operators._operator import Operator
from engine.vocabulary import Type

__all__ = ["OPERATOR"]

OPERATOR = Operator(
    name="shares_at_least_one_element_with",
    signatures=((Type.TEXT_SET, Type.TEXT_SET),),
    zh="至少一项属于",
    en="shares at least one element with",
    doc="The sets have an element in common.",
    py=lambda left, right: not left.isdisjoint(right),
    examples=(
        ((frozenset("ab"), frozenset("bc")), True),
        ((frozenset("a"), frozenset("b")), False),
        ((None, frozenset("a")), None),
    ),
)
