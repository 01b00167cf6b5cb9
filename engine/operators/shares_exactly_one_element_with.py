"""Define ``shares_exactly_one_element_with``."""

from engine.operators._operator import Operator
from engine.vocabulary import Type

__all__ = ["OPERATOR"]

OPERATOR = Operator(
    name="shares_exactly_one_element_with",
    signatures=((Type.TEXT_SET, Type.TEXT_SET),),
    zh="恰有一项属于",
    en="shares exactly one element with",
    doc="The sets have exactly one element in common.",
    py=lambda left, right: len(left & right) == 1,
    examples=(
        ((frozenset("ab"), frozenset("bc")), True),
        ((frozenset("ab"), frozenset("ab")), False),
        ((None, frozenset("a")), None),
    ),
)
