"""Define ``is_false``."""

from engine.operators._operator import Operator
from engine.vocabulary import Type

__all__ = ["OPERATOR"]

OPERATOR = Operator(
    name="is_false",
    signatures=((Type.YES_NO, Type.NOTHING),),
    zh="为假",
    en="is false",
    doc="The statement is known not to hold.",
    py=lambda value: not value,
    examples=(((False,), True), ((True,), False), ((None,), None)),
)
