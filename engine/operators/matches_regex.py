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
    doc="The text holds a match of the RE2 pattern (^ and $ tie it down; linear time, so none can stall).",
    py=lambda text, pattern: re2.search(pattern, text) is not None,
    examples=(
        (("I63.9", "I6[0-9]"), True),
        (("aI63", "I6"), True),
        (("aI63", "^I6"), False),
        ((None, "I6"), None),
    ),
)
