"""Read decoded FHIR JSON without trusting it: a malformed element becomes unknown and leaves a note."""

from __future__ import annotations

import calendar
import datetime as dt
import math
import re
from collections.abc import Callable
from enum import StrEnum
from functools import lru_cache
from typing import Generic, TypeVar

import msgspec

__all__ = [
    "Coding",
    "Node",
    "Note",
    "NoteKind",
    "Notes",
    "Readings",
    "codings",
    "day",
    "days_possible",
    "label",
    "moment",
    "node",
    "nodes",
    "number",
    "reference",
    "text",
]

T = TypeVar("T")
_ENCODE = msgspec.json.Encoder().encode

Node = dict[str, object]
Coding = tuple[str, str, str]
"""(system, code, display), each perhaps empty."""


class NoteKind(StrEnum):
    """Why a note was left."""

    MALFORMED = "malformed"  # of a type that FHIR does not allow there
    UNRESOLVED = "unresolved"  # a drug that the dictionary does not know
    DOSE = "dose"  # a dose that could not be computed
    NOT_OBTAINED = "not_obtained"  # neither sent nor readable
    NOT_COVERED = "not_covered"  # an order of a kind that no check looks at
    SCOPE = "scope"  # understood, and something was inferred or left out on purpose


class Note(msgspec.Struct, frozen=True, order=True):
    """One thing that the mapping could not or did not use: where, why, in plain words."""

    kind: NoteKind
    path: str  # FHIRPath-like: draftOrders.entry[2].resource.dosageInstruction[0].timing
    what: str
    name: str = ""  # of the drug, where there is one


class Notes:
    """Collect notes while mapping; bounded, so that a hostile body cannot grow the answer."""

    __slots__ = ("_limit", "_notes", "told")

    def __init__(self, limit: int = 200) -> None:
        self._notes: list[Note] = []
        self._limit = limit
        self.told = 0
        """How often a note was to be made, kept or not."""

    def add(self, kind: NoteKind, path: str, what: str, name: str = "") -> None:
        """Keep one note unless the limit is reached."""
        self.told += 1
        if len(self._notes) < self._limit:
            self._notes.append(Note(kind, path, what, name))

    def wrong(self, path: str, expected: str, value: object) -> None:
        """Keep a note on a value of the wrong type."""
        self.add(NoteKind.MALFORMED, path, f"expected {expected}, got {_type(value)}")

    def all(self) -> tuple[Note, ...]:
        """Return what was noted, in order."""
        return tuple(self._notes)


def _type(value: object) -> str:
    if value is None:
        return "null"
    names = {dict: "object", list: "array", str: "string", bool: "boolean", int: "number", float: "number"}
    return names.get(type(value), type(value).__name__)


_KEPT = 2048
_LONGEST = 2000


class Readings(Generic[T]):
    """Remember what short pieces of JSON were read as; what was noted on the way is read anew each time.

    Orders differ by patient and date, the ways of writing a drug and its dosage hardly do.
    """

    __slots__ = ("_kept",)

    def __init__(self) -> None:
        self._kept: dict[object, T] = {}

    def read(self, piece: object, notes: Notes, read: Callable[[], T], *further: object) -> T:
        """Return what ``read`` gives for ``piece``; it may depend on that and ``further``, and on notes."""
        try:
            written = _ENCODE(piece)
        except (ValueError, TypeError, OverflowError, RecursionError):
            return read()
        if len(written) > _LONGEST:
            return read()
        key = (written, further)
        found = self._kept.get(key)
        if found is None:
            before = notes.told
            found = read()
            if notes.told == before:
                if len(self._kept) >= _KEPT:
                    self._kept.clear()
                self._kept[key] = found
        return found


def node(parent: Node, key: str, notes: Notes, path: str) -> Node | None:
    """Return the object under ``key``; absent is ``None``, another type is ``None`` and noted."""
    value = parent.get(key)
    if value is None or isinstance(value, dict):
        return value
    notes.wrong(f"{path}.{key}", "object", value)
    return None


def nodes(parent: Node, key: str, notes: Notes, path: str) -> list[Node]:
    """Return the objects of the array under ``key``; whatever else stands there is left out and noted."""
    value = parent.get(key)
    if value is None:
        return []
    if not isinstance(value, list):
        notes.wrong(f"{path}.{key}", "array", value)
        return []
    found: list[Node] = []
    for position, item in enumerate(value):
        if isinstance(item, dict):
            found.append(item)
        else:
            notes.wrong(f"{path}.{key}[{position}]", "object", item)
    return found


def text(parent: Node, key: str, notes: Notes, path: str) -> str | None:
    """Return the non-empty string under ``key``, stripped."""
    value = parent.get(key)
    if value is None:
        return None
    if isinstance(value, str):
        return value.strip() or None
    notes.wrong(f"{path}.{key}", "string", value)
    return None


def number(parent: Node, key: str, notes: Notes, path: str) -> float | None:
    """Return the finite number under ``key``; decimals sent as strings are read, as some systems do."""
    value = parent.get(key)
    if value is None:
        return None
    if isinstance(value, (int, float, str)) and not isinstance(value, bool):
        try:
            found = float(value)
        except (ValueError, OverflowError):
            found = math.nan
        if math.isfinite(found):
            return found
    notes.wrong(f"{path}.{key}", "finite number", value)
    return None


def codings(concept: Node | None, notes: Notes, path: str) -> list[Coding]:
    """Return the codings of a CodeableConcept, or of a lone Coding."""
    if concept is None:
        return []
    if "coding" not in concept:
        return [_coding(concept, notes, path)] if "code" in concept else []
    return [_coding(item, notes, path) for item in nodes(concept, "coding", notes, path)]


def _coding(item: Node, notes: Notes, path: str) -> Coding:
    system, code, display = item.get("system", ""), item.get("code", ""), item.get("display", "")
    if isinstance(system, str) and isinstance(code, str) and isinstance(display, str):
        return system, code.strip(), display.strip()
    return (
        text(item, "system", notes, path) or "",
        text(item, "code", notes, path) or "",
        text(item, "display", notes, path) or "",
    )


def label(concept: Node | None, notes: Notes, path: str) -> str | None:
    """Return how a CodeableConcept is called: its text, else its first display."""
    if concept is None:
        return None
    said = text(concept, "text", notes, path)
    if said:
        return said
    return next((display for _, _, display in codings(concept, notes, path) if display), None)


def reference(parent: Node, key: str, notes: Notes, path: str) -> str | None:
    """Return the literal reference under ``key``."""
    found = node(parent, key, notes, path)
    return None if found is None else text(found, "reference", notes, f"{path}.{key}")


_DATE = re.compile(r"(\d{4})(?:-(\d{2})(?:-(\d{2}))?)?\Z")


@lru_cache(maxsize=4096)
def days_possible(written: str) -> tuple[dt.date, dt.date] | None:
    """Return the first and last day that a date of year, month or day precision may mean."""
    match = _DATE.match(written)
    if match is None:
        return None
    year, month, day_ = (int(part) if part else None for part in match.groups())
    try:
        if year is None:
            return None
        if month is None:
            return dt.date(year, 1, 1), dt.date(year, 12, 31)
        if day_ is None:
            return dt.date(year, month, 1), dt.date(year, month, calendar.monthrange(year, month)[1])
        return dt.date(year, month, day_), dt.date(year, month, day_)
    except ValueError:
        return None


@lru_cache(maxsize=4096)
def _read_moment(written: str, zone: dt.tzinfo | None) -> dt.datetime | None:
    if len(written) < 10:  # of year or month precision: no moment
        return None
    try:
        found = dt.datetime.fromisoformat(written)
        if found.tzinfo is not None and zone is not None:
            found = found.astimezone(zone)
        return found.replace(tzinfo=None)
    except (ValueError, OverflowError):
        return None


def moment(parent: Node, key: str, zone: dt.tzinfo | None, notes: Notes, path: str) -> dt.datetime | None:
    """Return the moment under ``key`` by the hospital's clock; a bare date is its first minute.

    Facts carry wall-clock time of the decision's zone without an offset, as the engine compares it.
    """
    written = text(parent, key, notes, path)
    if written is None:
        return None
    found = _read_moment(written, zone)
    if found is None:
        precise = days_possible(written) is None
        notes.add(
            NoteKind.MALFORMED if precise else NoteKind.SCOPE,
            f"{path}.{key}",
            "is not a date and time" if precise else "is not precise to the day",
        )
    return found


def day(parent: Node, key: str, zone: dt.tzinfo | None, notes: Notes, path: str) -> dt.date | None:
    """Return the calendar day under ``key`` in the decision's time zone."""
    found = moment(parent, key, zone, notes, path)
    return None if found is None else found.date()
