"""Read a rule, as its expert wrote it, into a typed tree; every fault is reported with its path and repair.

The condition tree is the JSON shape of the ``business-rules`` package (``all`` / ``any`` lists of ``{name,
operator, value}``), extended by ``not``, by values that name another fact or a dated parameter, by a join to
one knowledge table (``match``) and by derived values (``let``). Types are checked later, when the rule is
compiled against facts and tables.
"""

from __future__ import annotations

import datetime as dt
from typing import Any, Literal

import msgspec

from engine.decision import Certainty, Level, Reference, Stage, Words
from engine.errors import RuleError

__all__ = [
    "AGGREGATES",
    "Aggregate",
    "AllOf",
    "AnyOf",
    "Calculation",
    "Constant",
    "Join",
    "Leaf",
    "Name",
    "Node",
    "Not",
    "ParameterName",
    "Rule",
    "Then",
    "Value",
    "read_rule",
]

AGGREGATES = ("count", "sum", "min", "max", "distinct", "latest", "earliest", "longest_gap", "shortest_gap")


class Constant(msgspec.Struct, frozen=True):
    """A value written into the rule itself."""

    value: Any


class Name(msgspec.Struct, frozen=True):
    """A fact, a table column or a derived value: ``line.code``, ``limit.sex``, ``same_day``."""

    name: str


class ParameterName(msgspec.Struct, frozen=True):
    """A dated number, taken as of the day of the decision."""

    parameter: str


Value = Constant | Name | ParameterName


class Leaf(msgspec.Struct, frozen=True):
    path: str
    name: Name
    operator: str
    value: Value | None
    more: tuple[tuple[str, Value], ...] = ()  # further keys, such as days of within_days


class AllOf(msgspec.Struct, frozen=True):
    path: str
    nodes: tuple[Node, ...]


class AnyOf(msgspec.Struct, frozen=True):
    path: str
    nodes: tuple[Node, ...]


class Not(msgspec.Struct, frozen=True):
    path: str
    node: Node


Node = Leaf | AllOf | AnyOf | Not


class Aggregate(msgspec.Struct, frozen=True):
    """A count, sum, minimum … over the related rows of a collection that satisfy ``where``."""

    path: str
    how: str
    collection: str
    alias: str
    where: Node | None
    field: Name | None = None
    by: Name | None = None


class Calculation(msgspec.Struct, frozen=True):
    """A value operator applied to values."""

    path: str
    operator: str
    of: tuple[Value, ...]


class Join(msgspec.Struct, frozen=True):
    """Rows of ``table`` whose key columns equal the facts of ``on``, bound to ``word``."""

    path: str
    word: str
    table: str
    on: tuple[tuple[str, Name], ...]


class SuggestionText(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    label: Words
    remove: str = ""


class ColumnName(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    name: str


class Then(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a rule says when it fires; texts hold ``{fact}`` places."""

    level: Level | ColumnName
    message: Words
    certainty: Certainty | None = None
    behaviour: str = ""
    advice: Words | None = None
    amount: str = ""
    suggestions: tuple[SuggestionText, ...] = ()


class _Page(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The page as written; the trees are read by hand so that every fault in them is reported."""

    id: str
    title: Words
    status: Literal["draft", "shadow", "active", "retired"]
    version: int
    valid_from: dt.date
    stages: tuple[Stage, ...]
    when: dict[str, Any]
    then: Then
    references: tuple[Reference, ...] = ()
    known_limits: str | Words = ""
    official_code: str = ""
    valid_to: dt.date | None = None
    for_each: dict[str, str] = {}
    match: dict[str, Any] = {}
    let: dict[str, dict[str, Any]] = {}
    owner: str = ""
    note: str = ""


class Rule(msgspec.Struct, frozen=True, kw_only=True):
    """A rule as a tree; ``place`` is the path of its file, for messages."""

    place: str
    id: str
    ruleset: str
    title: Words
    status: Literal["draft", "shadow", "active", "retired"]
    version: int
    valid_from: dt.date
    valid_to: dt.date | None
    stages: tuple[Stage, ...]
    for_each: tuple[tuple[str, str], ...]
    join: Join | None
    let: tuple[tuple[str, Aggregate | Calculation], ...]
    when: Node
    then: Then
    references: tuple[Reference, ...]
    known_limits: str | Words
    official_code: str
    note: str = ""

    def in_force(self, on: dt.date) -> bool:
        """Say whether the rule holds on this day."""
        return self.valid_from <= on and (self.valid_to is None or on < self.valid_to)


class _Reader:
    """Read the trees of one page, collecting faults."""

    def __init__(self, place: str) -> None:
        self.place = place
        self.errors: list[RuleError] = []

    def fault(self, path: str, what: str, mend: str) -> None:
        self.errors.append(RuleError(f"{self.place}: {path}", what, mend, "R01"))

    def value(self, raw: Any, path: str) -> Value:
        if isinstance(raw, dict):
            if set(raw) == {"name"} and isinstance(raw["name"], str):
                return Name(raw["name"])
            if set(raw) == {"parameter"} and isinstance(raw["parameter"], str):
                return ParameterName(raw["parameter"])
            self.fault(
                path, "is neither a value nor {name: …} nor {parameter: …}.", "Write one of the three."
            )
        return Constant(raw)

    def node(self, raw: Any, path: str, depth: int = 0) -> Node:
        if depth > 20:
            self.fault(path, "is nested more than 20 deep.", "Split the rule in two.")
        elif isinstance(raw, dict) and len(raw) == 1 and next(iter(raw)) in ("all", "any"):
            word, children = next(iter(raw.items()))
            if isinstance(children, list) and children:
                read = self._children(children, f"{path}.{word}", depth)
                return AllOf(path, read) if word == "all" else AnyOf(path, read)
            self.fault(f"{path}.{word}", "is empty or not a list.", "List at least one condition.")
        elif isinstance(raw, dict) and set(raw) == {"not"}:
            return Not(path, self.node(raw["not"], f"{path}.not", depth + 1))
        elif isinstance(raw, dict) and {"name", "operator"} <= set(raw):
            return self._leaf(raw, path)
        else:
            self.fault(
                path, "is no condition.", "Write {all: […]}, {any: […]}, {not: …} or {name, operator, value}."
            )
        return AllOf(path, ())

    def _children(self, raw: list[Any], path: str, depth: int) -> tuple[Node, ...]:
        return tuple(self.node(child, f"{path}[{i}]", depth + 1) for i, child in enumerate(raw))

    def _leaf(self, raw: dict[str, Any], path: str) -> Leaf:
        if not isinstance(raw["name"], str) or not isinstance(raw["operator"], str):
            self.fault(path, "has a name or an operator that is no text.", "Write both as words.")
        value = self.value(raw["value"], f"{path}.value") if "value" in raw else None
        more = tuple(
            (str(key), self.value(extra, f"{path}.{key}"))
            for key, extra in raw.items()
            if key not in ("name", "operator", "value")
        )
        return Leaf(path, Name(str(raw["name"])), str(raw["operator"]), value, more)

    def let(self, word: str, raw: dict[str, Any]) -> Aggregate | Calculation:
        path = f"let.{word}"
        if "operator" in raw:
            if set(raw) != {"operator", "of"} or not isinstance(raw["of"], list):
                self.fault(path, "is no calculation.", "Write {operator: …, of: [value, value]}.")
                return Calculation(path, str(raw["operator"]), ())
            of = tuple(self.value(v, f"{path}.of[{i}]") for i, v in enumerate(raw["of"]))
            return Calculation(path, str(raw["operator"]), of)
        how = [key for key in raw if key in AGGREGATES]
        unknown = set(raw) - {*AGGREGATES, "as", "field", "by", "where"}
        if len(how) != 1 or unknown:
            self.fault(
                path,
                f"does not say what to derive ({', '.join(sorted(unknown)) or 'nothing'} is not known here).",
                f"Write {{operator, of}} or {'|'.join(AGGREGATES)}: collection, as, field, by, where.",
            )
            return Calculation(path, "", ())
        where = self.node(raw["where"], f"{path}.where") if "where" in raw else None
        return Aggregate(
            path,
            how[0],
            str(raw[how[0]]),
            str(raw.get("as", "other")),
            where,
            Name(str(raw["field"])) if "field" in raw else None,
            Name(str(raw["by"])) if "by" in raw else None,
        )

    def join(self, raw: dict[str, Any]) -> Join | None:
        if not raw:
            return None
        word = next(iter(raw))
        body = raw[word]
        if (
            len(raw) != 1
            or not isinstance(body, dict)
            or set(body) != {"table", "on"}
            or not isinstance(body["on"], dict)
            or not body["on"]
        ):
            self.fault("match", "is no join.", "Write match: {word: {table: …, on: {column: fact}}}.")
            return None
        on = tuple((str(column), Name(str(fact))) for column, fact in body["on"].items())
        return Join("match", word, str(body["table"]), on)


def read_rule(raw: Any, place: str) -> tuple[Rule | None, list[RuleError]]:
    """Read one page. Returns the rule, or ``None`` when it has no readable shape, and all faults found."""
    try:
        page = msgspec.convert(raw, _Page)
    except msgspec.ValidationError as error:
        what, _, path = str(error).partition(" - at ")
        where = f"{place}: {path.strip('`').removeprefix('$.') or 'page'}"
        return None, [RuleError(where, f"{what}.", "See the page of the rule language.", "R01")]
    reader = _Reader(place)
    if not page.stages:
        reader.fault("stages", "are empty, so the rule would never run.", "Name at least one stage.")
    if page.version < 1:
        reader.fault("version", f"is {page.version}.", "Count from 1.")
    rule = Rule(
        place=place,
        id=page.id,
        ruleset=page.id.partition(".")[0],
        title=page.title,
        status=page.status,
        version=page.version,
        valid_from=page.valid_from,
        valid_to=page.valid_to,
        stages=page.stages,
        for_each=tuple(page.for_each.items()),
        join=reader.join(page.match),
        let=tuple((word, reader.let(word, body)) for word, body in page.let.items()),
        when=reader.node(page.when, "when"),
        then=page.then,
        references=page.references,
        known_limits=page.known_limits,
        official_code=page.official_code,
        note=page.note,
    )
    return rule, reader.errors
