"""Define ``includes``."""

from engine.operators._operator import Operator
from engine.vocabulary import Type

__all__ = ["OPERATOR"]

OPERATOR = Operator(
    name="includes",
    signatures=((Type.TEXT_SET, Type.TEXT),),
    zh="包括",
    en="includes",
    doc="The set holds the text.",
    py=lambda left, right: right in left,
    examples=(
        ((frozenset({"nsaid"}), "nsaid"), True),
        ((frozenset({"nsaid"}), "ssri"), False),
        ((None, "ssri"), None),
    ),
)
