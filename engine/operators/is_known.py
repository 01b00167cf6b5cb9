"""Define ``is_known``."""

from engine.operators._operator import SCALARS, Operator
from engine.vocabulary import Type

__all__ = ["OPERATOR"]

OPERATOR = Operator(
    name="is_known",
    signatures=tuple((type_, Type.NOTHING) for type_ in (*SCALARS, Type.TEXT_SET, Type.INTERVAL)),
    zh="已知",
    en="is known",
    doc="The fact was supplied. Never unknown itself.",
    py=lambda value: value is not None,
    examples=((("a",), True), ((None,), False)),
    strict=False,
)
