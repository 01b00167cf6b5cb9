"""Define ``is_contained_by``."""

from engine.operators._operator import Operator
from engine.vocabulary import Type

__all__ = ["OPERATOR"]

OPERATOR = Operator(
    name="is_contained_by",
    signatures=((Type.TEXT_SET, Type.TEXT_SET),),
    zh="全部属于",
    en="is contained by",
    doc="Every element of the set is a listed one.",
    py=lambda left, right: left <= right,
    examples=(
        ((frozenset("a"), frozenset("ab")), True),
        ((frozenset("ab"), frozenset("a")), False),
        ((None, frozenset("a")), None),
    ),
)
