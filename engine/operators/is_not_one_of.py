"""Define ``is_not_one_of``."""

from engine.operators._operator import Operator
from engine.vocabulary import Type

__all__ = ["OPERATOR"]

OPERATOR = Operator(
    name="is_not_one_of",
    signatures=((Type.TEXT, Type.TEXT_SET),),
    zh="不属于",
    en="is not one of",
    doc="The text is none of the listed ones.",
    py=lambda left, right: left not in right,
    examples=(
        (("oral", frozenset({"iv"})), True),
        (("iv", frozenset({"iv"})), False),
        ((None, frozenset({"iv"})), None),
    ),
)
