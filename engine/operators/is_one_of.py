"""Define ``is_one_of``."""

from engine.operators._operator import Operator
from engine.vocabulary import Type

__all__ = ["OPERATOR"]

OPERATOR = Operator(
    name="is_one_of",
    signatures=((Type.TEXT, Type.TEXT_SET),),
    zh="属于",
    en="is one of",
    doc="The text is one of the listed ones.",
    py=lambda left, right: left in right,
    examples=(
        (("iv", frozenset({"iv", "im"})), True),
        (("oral", frozenset({"iv"})), False),
        ((None, frozenset({"iv"})), None),
    ),
)
