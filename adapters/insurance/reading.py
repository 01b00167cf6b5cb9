"""Read a message of differing clients: any case of keys, numbers as text, ``-`` for unknown, one for a list.

What cannot be read becomes unknown and leaves a :class:`Note` with its path; it never becomes 0 and never
quotes the value, which might be a name in the wrong place.
"""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Mapping
from decimal import Decimal
from typing import TypeVar

import msgspec

from engine.errors import FactsError

__all__ = ["Node", "Note", "ShapeError", "root"]

T = TypeVar("T")

_BLANK = frozenset({"", "-", "--", "—", "——", "null", "none"})
_NUMBER = re.compile(r"[+-]?(\d{1,16}(\.\d{0,16})?|\.\d{1,16})(E[+-]?\d{1,2})?", re.ASCII | re.IGNORECASE)
_DAY = re.compile(r"(\d{4})[-/.]?(\d{2})[-/.]?(\d{2})", re.ASCII)
_MOMENT = re.compile(
    r"(\d{4})[-/.]?(\d{2})[-/.]?(\d{2})(?:[T ]*(\d{2}):?(\d{2})(?::?(\d{2})(?:\.?\d{1,6})?)?)?", re.ASCII
)


class ShapeError(FactsError):
    """A node that must be there is missing or has another JSON type than the interface says."""


class Note(msgspec.Struct, frozen=True):
    """Something in the message that was left unread, and where."""

    path: str
    what: str


class Node:
    """One object of the message with its path; keys are found in any case."""

    def __init__(self, value: Mapping[str, object], path: str, notes: list[Note]) -> None:
        self.path, self.notes = path, notes
        self._values = _lowered(value)
        self._nodes: dict[str, tuple[Node, ...]] = {}

    def at(self, key: str) -> str:
        """Return the path of a key of this node."""
        return f"{self.path}.{key}"

    def note(self, key: str, what: str) -> None:
        """Remember that the value under a key was left unread."""
        self.notes.append(Note(self.at(key), what))

    def has(self, key: str) -> bool:
        """Say whether a key is there with anything but null."""
        return self._values.get(key) is not None

    def raw(self, key: str) -> object:
        """Return what stands under a key, as it was decoded."""
        return self._values.get(key)

    def text(self, key: str) -> str | None:
        """Return trimmed text, a number as text; blank, ``-`` and null are unknown."""
        value = self._values.get(key)
        if value is None:
            return None
        if not isinstance(value, str):
            return self._number_as_text(key, value)
        text = value.replace("\x00", "").strip()
        return None if text.lower() in _BLANK else text

    def _number_as_text(self, key: str, value: object) -> str | None:
        if isinstance(value, bool) or not isinstance(value, int | float | Decimal):
            self.note(key, "is not text")
            return None
        if isinstance(value, int) and value.bit_length() > 400:
            self.note(key, "is a number out of reach")
            return None
        if isinstance(value, Decimal):
            if not -20 <= value.adjusted() <= 20:
                self.note(key, "is a number out of reach")
                return None
            return format(value, "f")
        return str(value)

    def decimal(self, key: str) -> Decimal | None:
        """Return an exact number of at most 16 digits before the point; anything else is unknown."""
        text = self.text(key)
        if text is None:
            return None
        text = text.replace(",", "")
        found = Decimal(text) if _NUMBER.fullmatch(text) else None
        if found is None or not -20 <= found.adjusted() <= 16:
            self.note(key, "is not a number")
            return None
        return found

    def number(self, key: str) -> float | None:
        """Return a number for counting and measuring."""
        value = self.decimal(key)
        return None if value is None else float(value)

    def code(self, key: str, table: Mapping[str, T | None]) -> T | None:
        """Return our word for a code; ``1``, ``01`` and ``001`` are one code."""
        text = self.text(key)
        if text is None:
            return None
        text = text.upper()
        for candidate in (text, text.zfill(2), text.lstrip("0") or "0"):
            if candidate in table:
                return table[candidate]
        self.note(key, "is a code that the site's table does not know")
        return None

    def flag(self, key: str) -> bool | None:
        """Return a 0/1 flag."""
        text = self.text(key)
        if text is None:
            return None
        if text.lower() in {"1", "01", "true", "y"}:
            return True
        if text.lower() in {"0", "00", "false", "n"}:
            return False
        self.note(key, "is neither 0 nor 1")
        return None

    def moment(self, key: str) -> dt.datetime | None:
        """Return a date and time in one of the three written forms; the year 9999 means *open*, unknown."""
        text = self.text(key)
        if text is None:
            return None
        found = _MOMENT.fullmatch(text)
        if found:
            try:
                moment = dt.datetime(*(int(part or 0) for part in found.groups()))  # type: ignore[arg-type]
            except ValueError:
                found = None
            else:
                return None if moment.year == dt.MAXYEAR else moment
        self.note(key, "is not a date")
        return None

    def day(self, key: str) -> dt.date | None:
        """Return the day of a date or of a date and time."""
        moment = self.moment(key)
        return None if moment is None else moment.date()

    def texts(self, key: str) -> tuple[str, ...]:
        """Return several texts given as a list, as one text with commas or as one value."""
        value = self._values.get(key)
        if isinstance(value, list):
            parts = [
                str(item) for item in value if isinstance(item, str | int) and not isinstance(item, bool)
            ]
            if len(parts) < len([item for item in value if item is not None]):
                self.note(key, "holds something that is not text")
        else:
            parts = [self.text(key) or ""]
        words = (word.strip() for part in parts for word in re.split(r"[,，;；|]", part))
        return tuple(dict.fromkeys(word for word in words if word.lower() not in _BLANK))

    def nodes(self, key: str) -> tuple[Node, ...] | None:
        """Return the objects under a key; one object stands for a list of one, ``None`` if it was not sent.

        Raises:
            ShapeError: something else than an object stands where one is meant.
        """
        if key in self._nodes:
            return self._nodes[key]
        value = self._values.get(key)
        if value is None or (isinstance(value, str) and value.strip() in ("", "-")):
            return None
        self._nodes[key] = self._children(key, value)
        return self._nodes[key]

    def _children(self, key: str, value: object) -> tuple[Node, ...]:
        if isinstance(value, Mapping):
            return (Node(value, self.at(key), self.notes),)
        if not isinstance(value, list):
            raise ShapeError(self.at(key), "must be a list of objects.")
        found = []
        for position, item in enumerate(value):
            path = f"{self.at(key)}[{position}]"
            if not isinstance(item, Mapping):
                raise ShapeError(path, "must be an object.")
            found.append(Node(item, path, self.notes))
        return tuple(found)

    def adopt(self, notes: list[Note]) -> None:
        """Note into another list from now on, here and below."""
        self.notes = notes
        for nodes in self._nodes.values():
            for node in nodes:
                node.adopt(notes)

    def node(self, key: str) -> Node:
        """Return the one object under a key.

        Raises:
            ShapeError: it is missing or no object.
        """
        value = self._values.get(key)
        if not isinstance(value, Mapping):
            raise ShapeError(self.at(key), "is missing." if value is None else "must be an object.")
        return Node(value, self.at(key), self.notes)


def _lowered(value: Mapping[str, object]) -> Mapping[str, object]:
    if all(map(str.islower, value)):
        return value
    lowered = {key.lower(): item for key, item in value.items()}
    # the key as the interface spells it wins over another spelling of it
    lowered.update({key: item for key, item in value.items() if key == key.lower()})
    return lowered


def root(value: object, path: str = "$") -> Node:
    """Return the outermost object of a message.

    Raises:
        ShapeError: the message is no object.
    """
    if not isinstance(value, Mapping):
        raise ShapeError(path, "must be an object.")
    return Node(value, path, [])
