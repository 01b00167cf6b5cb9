"""Resolve the names of a rule to readers: functions from the environment of one evaluation to a value.

The environment is a list with one place for each thing a rule can name; an unknown fact reads as ``None``.
"""

from __future__ import annotations

import datetime as dt
import difflib
import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal, InvalidOperation
from operator import attrgetter
from typing import Any

from engine.decision import Words
from engine.drugs import Dictionary
from engine.errors import RuleError
from engine.facts import COLLECTIONS, SINGLES
from engine.knowledge import Table
from engine.parameters import Parameter
from engine.rule import Constant, Name, ParameterName, Value
from engine.vocabulary import FactWord, Type, words_of

__all__ = [
    "AT",
    "ENVIRONMENT",
    "FACTS",
    "FIRST",
    "INVARIANT",
    "MEMO",
    "OTHER",
    "PATIENT",
    "ROW",
    "SECOND",
    "VISIT",
    "Counted",
    "Env",
    "Reader",
    "Scope",
]

Env = list[Any]
AT, FACTS, PATIENT, VISIT, FIRST, SECOND, ROW, OTHER, MEMO = range(9)
ENVIRONMENT = 9
INVARIANT = frozenset({AT, FACTS, PATIENT, VISIT})
"""What does not change while a rule ranges over the items of one visit."""

_DRUG_WORDS = frozenset({"ingredient", "ingredients", "agents"})
_UNKNOWN = Words("未知", "unknown")
_YES = Words("是", "yes")
_NO = Words("否", "no")


@dataclass(frozen=True, slots=True)
class Counted:
    """How many items of a collection have one text: ``count`` gives them all, once a visit, under ``key``."""

    key: tuple[str, str]
    text: str
    count: Callable[[Env], dict[str, float] | None]


@dataclass(slots=True, eq=False)
class Reader:
    """A named value of a rule: its type, how to read it, what it depends on, how to say it.

    ``missing`` names the facts to supply when the value is unknown; ``by`` says for the trace where the value
    came from; ``drug`` marks ids that the drug dictionary can say in words.
    """

    type: Type
    read: Callable[[Env], Any]
    name: str
    slots: frozenset[int]
    options: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    drug: bool = False
    unit: str | None = None
    missing_names: Callable[[Env], tuple[str, ...]] | None = None
    source: Callable[[Env], str] | None = None
    get: Callable[[Any], Any] | None = None  # of a fact: reads it from the item at ``slot``
    slot: int = 0
    cell: int | None = None  # of a column: its place in the row
    counted: Counted | None = None

    def missing(self, env: Env) -> tuple[str, ...]:
        """Name what must be supplied so that this value is known."""
        return self.missing_names(env) if self.missing_names else (self.name,)

    def by(self, env: Env) -> str:
        """Say where the value came from."""
        return self.source(env) if self.source else self.name

    def words(self, value: Any, drugs: Dictionary) -> tuple[str, str]:
        """Say a value in Chinese and in English."""
        if value is None:
            return _UNKNOWN.zh, _UNKNOWN.en
        if isinstance(value, frozenset):
            said = [self.words(part, drugs) for part in sorted(value)]
            return "、".join(zh for zh, _ in said), ", ".join(en for _, en in said)
        if isinstance(value, bool):
            words = _YES if value else _NO
            return words.zh, words.en
        if isinstance(value, str):
            if value in self.options:
                return self.options[value]
            if self.drug and (label := drugs.label(value)) is not None:
                return label.zh, label.en
            return value, value
        if isinstance(value, float):
            text = format(round(value, 3), ".10g")
        elif isinstance(value, dt.datetime):
            text = value.strftime("%Y-%m-%d %H:%M")
        else:
            text = str(value)
        return text, text


class Scope:
    """The names that one rule may use, and how each is read."""

    def __init__(
        self,
        place: str,
        bindings: tuple[tuple[str, str], ...],
        parameters: Mapping[str, Parameter],
        join: tuple[str, Table] | None = None,
    ) -> None:
        self.place = place
        self.parameters = parameters
        self.errors: list[RuleError] = []
        self.lets: dict[str, Reader] = {}
        self._heads: dict[str, tuple[int, str]] = {"patient": (PATIENT, "patient"), "visit": (VISIT, "visit")}
        self._join = join
        self._row_drugs: frozenset[str] = frozenset()
        self.words: set[str] = set()  # the facts that are read, by their own word
        self.asked: list[Reader] = []  # what was named but the related item of ``let``
        for slot, (word, kind) in zip((FIRST, SECOND), bindings, strict=False):
            if word in (*SINGLES, *COLLECTIONS) and word != kind:
                self.fault(
                    "for_each", f"calls a {kind} {word}, which means something else.", "Choose another word."
                )
            self._heads[word] = (slot, kind)

    def fault(self, path: str, what: str, mend: str, check: str = "R02") -> None:
        """Note a fault of the rule at ``path``."""
        self.errors.append(RuleError(f"{self.place}: {path}", what, mend, check))

    def mark_row_drugs(self, columns: frozenset[str]) -> None:
        """Say which columns hold ingredients or classes, so that messages name them in words."""
        self._row_drugs = columns

    def with_alias(self, alias: str, kind: str) -> Scope:
        """Return a scope in which ``alias`` also stands for one related item."""
        inner = Scope(self.place, (), self.parameters, self._join)
        inner._heads = {**self._heads, alias: (OTHER, kind)}
        inner.errors, inner.lets, inner._row_drugs = self.errors, self.lets, self._row_drugs
        inner.words = self.words
        return inner

    def kind_of(self, word: str) -> str | None:
        """Return the collection or single that a word stands for."""
        return self._heads[word][1] if word in self._heads else None

    def name(self, name: str, path: str) -> Reader | None:
        """Return the reader of a name, or note that there is none and which was perhaps meant."""
        reader = self._named(name, path)
        if reader is not None and OTHER not in reader.slots:
            self.asked.append(reader)
        return reader

    def _named(self, name: str, path: str) -> Reader | None:
        head, _, word = name.partition(".")
        if not word and head in self.lets:
            return self.lets[head]
        if self._join and head == self._join[0]:
            return self._column(self._join[1], head, word, path)
        if head not in self._heads:
            known = [*self._heads, *self.lets, *([self._join[0]] if self._join else [])]
            self.fault(path, f"names {name}, but {head} is not known here.", f"Use {_nearest(head, known)}.")
            return None
        slot, kind = self._heads[head]
        words = words_of(kind)
        if word not in words:
            self.fault(
                path,
                f"names {name}, but a {kind} has no {word or 'such word'}.",
                f"Use {_nearest(word, words)}.",
            )
            return None
        self.words.add(word)
        return _fact(words[word], name, slot)

    def _column(self, table: Table, head: str, word: str, path: str) -> Reader | None:
        if word not in table.position:
            self.fault(
                path,
                f"names {head}.{word}, but the table {table.header.id} has no column {word}.",
                f"Use {_nearest(word, table.position)}.",
            )
            return None
        index = table.position[word]
        column = table.header.columns[word]
        return Reader(
            Type(column.type),
            lambda env: None if env[ROW] is None else env[ROW][index],
            f"{head}.{word}",
            frozenset({ROW}),
            options=column.options,
            drug=word in self._row_drugs,
            unit=column.unit or None,
            cell=index,
        )

    def value(self, value: Value, wanted: tuple[Type, ...], path: str) -> Reader | None:
        """Return the reader of a value of one of the wanted types, or note what is wrong with it."""
        if isinstance(value, Name):
            reader = self.name(value.name, path)
            if reader is not None and reader.type not in wanted:
                self.fault(path, f"is {value.name}, a {reader.type}.", f"Use a {' or '.join(wanted)}.", "R03")
                return None
            return reader
        if isinstance(value, ParameterName):
            return self._parameter(value.parameter, wanted, path)
        for type_ in wanted:
            try:
                constant = _coerce(value.value, type_)
            except (ValueError, TypeError, InvalidOperation):
                continue
            return _constant(type_, constant, _shown(value))
        self.fault(path, f"is {value.value!r}.", f"Write a {' or '.join(wanted)}.", "R03")
        return None

    def _parameter(self, name: str, wanted: tuple[Type, ...], path: str) -> Reader | None:
        parameter = self.parameters.get(name)
        if parameter is None:
            self.fault(
                path,
                f"names the parameter {name}, which there is not.",
                f"Use {_nearest(name, self.parameters)}.",
            )
            return None
        type_ = next((t for t in wanted if t == parameter.type), None)
        if type_ is None and parameter.type == "number" and Type.MONEY in wanted:
            type_ = Type.MONEY
        if type_ is None:
            self.fault(
                path, f"is the parameter {name}, a {parameter.type}.", f"Use a {' or '.join(wanted)}.", "R03"
            )
            return None
        found_type = type_

        @functools.lru_cache(maxsize=64)
        def on(day: dt.date) -> tuple[Any, str]:
            held = parameter.at(day)
            if held is None:
                return None, f"parameter {name}: no value yet"
            raw = list(held.value) if isinstance(held.value, tuple) else held.value
            return _coerce(raw, found_type), f"parameter {name} since {held.since}"

        latest: tuple[dt.datetime | None, Any, str] = (None, None, "")

        def at(env: Env) -> tuple[dt.datetime | None, Any, str]:
            # One decision has one moment, so the very same object means the very same day.
            nonlocal latest
            held = latest
            if held[0] is not env[AT]:
                latest = held = (env[AT], *on(env[AT].date()))
            return held

        def read(env: Env) -> Any:
            held = latest
            return held[1] if held[0] is env[AT] else at(env)[1]

        return Reader(
            found_type,
            read,
            f"parameter {name}",
            frozenset({AT}),
            unit=parameter.unit or None,
            source=lambda env: at(env)[2],
        )


def _constant(type_: Type, constant: Any, shown: str) -> Reader:
    return Reader(
        type_, lambda _: constant, shown, frozenset(), missing_names=lambda _: (), source=lambda _: ""
    )


@functools.cache
def _reading(field: str, slot: int) -> tuple[Callable[[Any], Any], Callable[[Env], Any]]:
    """Return how to read a field of an item, and of the item at a slot; shared by all that read it."""
    get = attrgetter(field)
    return get, lambda env: get(env[slot])


def _fact(word: FactWord, name: str, slot: int) -> Reader:
    if word.type is Type.INTERVAL:
        return Reader(
            Type.INTERVAL,
            lambda env: _period(env[slot]),
            name,
            frozenset({slot}),
            missing_names=lambda _: (f"{name[:-7]}.start",),
            get=_period,
            slot=slot,
        )
    get, read = _reading(word.field, slot)
    return Reader(
        word.type,
        read,
        name,
        frozenset({slot}),
        options=word.label.options,
        drug=word.field in _DRUG_WORDS,
        unit=word.label.unit,
        get=get,
        slot=slot,
    )


def _period(item: Any) -> tuple[dt.datetime, dt.datetime] | None:
    start = item.start
    return None if start is None else (start, item.end or dt.datetime.max)


def _coerce(raw: Any, type_: Type) -> Any:
    """Return a written value as a value of the type, or raise ``ValueError`` / ``TypeError``."""
    if type_ is Type.TEXT and isinstance(raw, str):
        return raw
    if type_ is Type.YES_NO and isinstance(raw, bool):
        return raw
    if (
        type_ is Type.TEXT_SET
        and isinstance(raw, list | tuple)
        and all(isinstance(part, str) for part in raw)
    ):
        return frozenset(raw)
    if type_ is Type.DATE and isinstance(raw, str):
        return dt.date.fromisoformat(raw)
    if type_ is Type.MOMENT and isinstance(raw, str):
        return dt.datetime.fromisoformat(raw).replace(tzinfo=None)
    if isinstance(raw, bool):
        raise TypeError(raw)
    if type_ is Type.NUMBER and isinstance(raw, int | float):
        return float(raw)
    if type_ is Type.MONEY and isinstance(raw, int | float | str):
        return Decimal(str(raw))
    if type_ is Type.NUMBER_PAIR and isinstance(raw, list | tuple):
        low, high = raw
        if low > high:
            raise ValueError(raw)
        return float(low), float(high)
    raise TypeError(raw)


def _shown(value: Constant) -> str:
    return str(value.value)


def _nearest(word: str, known: Any) -> str:
    near = difflib.get_close_matches(word, list(known), n=3, cutoff=0.4)
    return " or ".join(near) if near else "one of " + ", ".join(sorted(known)[:12])
