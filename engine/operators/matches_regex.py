"""Define ``matches_regex``."""

import re2

from engine.operators._operator import Operator
from engine.vocabulary import Type

__all__ = ["OPERATOR"]

OPERATOR = Operator(
    name="matches_regex",
    signatures=((Type.TEXT, Type.TEXT),),
    zh="匹配正则",
    en="matches the pattern",
    doc="The text begins with a match of the RE2 pattern (linear time, so no pattern can stall a check).",
    py=lambda text, pattern: re2.match(pattern, text) is not None,
    examples=((("I63.9", "I6[0-9]"), True), (("J18", "I6"), False), ((None, "I6"), None)),
)
