"""Define ``is_true``."""

from engine.operators._operator import Operator
from engine.vocabulary import Type

__all__ = ["OPERATOR"]

OPERATOR = Operator(
    name="is_true",
    signatures=((Type.YES_NO, Type.NOTHING),),
    zh="为真",
    en="is true",
    doc="The statement is known to hold.",
    py=bool,
    examples=(((True,), True), ((False,), False), ((None,), None)),
)
