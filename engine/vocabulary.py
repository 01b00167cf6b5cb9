"""Read the vocabulary of rules from the fact structures: which words exist, their types, labels and units."""

from __future__ import annotations

import datetime as dt
import functools
import types
from decimal import Decimal
from enum import StrEnum
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

import msgspec

from engine.facts import COLLECTIONS, SINGLES, Label

__all__ = ["FactWord", "Type", "words_of"]


class Type(StrEnum):
    """The types of values in the rule language."""

    TEXT = "text"
    NUMBER = "number"  # float, compared with tolerance 1e-6
    MONEY = "money"  # Decimal, exact
    DATE = "date"
    MOMENT = "moment"
    YES_NO = "boolean"
    TEXT_SET = "text_set"
    INTERVAL = "interval"  # (start, end), an open end is datetime.max
    NUMBER_PAIR = "number_pair"  # [low, high] of `between`
    NOTHING = "nothing"  # an operator without a right-hand side


class FactWord(msgspec.Struct, frozen=True):
    """One word of the vocabulary: ``field`` of a structure, with its type and label."""

    field: str
    type: Type
    label: Label


_TYPES: dict[Any, Type] = {
    str: Type.TEXT,
    float: Type.NUMBER,
    int: Type.NUMBER,
    Decimal: Type.MONEY,
    dt.date: Type.DATE,
    dt.datetime: Type.MOMENT,
    bool: Type.YES_NO,
    frozenset[str]: Type.TEXT_SET,
}
_PERIOD = Label("时间段", "Period", "From start to end; an open end is open")


def _type_of(hint: Any) -> Type:
    origin = get_origin(hint)
    if origin is Annotated:
        return _type_of(get_args(hint)[0])
    if origin in (Union, types.UnionType):
        inner = [arg for arg in get_args(hint) if arg is not type(None)]
        return _type_of(inner[0])
    if origin is Literal:
        return Type.TEXT
    return _TYPES[hint]


@functools.cache
def _words(struct: type[msgspec.Struct]) -> dict[str, FactWord]:
    words: dict[str, FactWord] = {}
    for name, hint in get_type_hints(struct, include_extras=True).items():
        label = next((extra for extra in get_args(hint)[1:] if isinstance(extra, Label)), None)
        if label is not None:
            words[name] = FactWord(name, _type_of(hint), label)
    if "start" in words and "end" in words:
        words["period"] = FactWord("period", Type.INTERVAL, _PERIOD)
    return words


def words_of(kind: str) -> dict[str, FactWord]:
    """Return the words of ``patient``, ``visit`` or a collection such as ``charge``: field -> word."""
    if kind in SINGLES:
        return _words(SINGLES[kind])
    return _words(COLLECTIONS[kind][1])
