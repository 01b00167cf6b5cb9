"""Define ``is_unknown``."""

from engine.operators._operator import SCALARS, Operator
from engine.vocabulary import Type

__all__ = ["OPERATOR"]

OPERATOR = Operator(
    name="is_unknown",
    signatures=tuple((type_, Type.NOTHING) for type_ in (*SCALARS, Type.TEXT_SET, Type.INTERVAL)),
    zh="未知",
    en="is unknown",
    doc="The fact was not supplied. Never unknown itself.",
    py=lambda value: value is None,
    examples=((("a",), False), ((None,), True)),
    strict=False,
)
