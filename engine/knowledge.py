"""Hold knowledge tables: typed rows that rules join, every row with its source.

A table is a CSV file and a header. An empty cell is unknown (``None``); in a key column other than the first
of a join it matches anything. ``valid_from`` / ``valid_to`` (exclusive) columns bound a row in time.
"""

from __future__ import annotations

import csv
import datetime as dt
import functools
import io
import math
import sys
from collections.abc import Callable, Iterator
from decimal import Decimal, InvalidOperation
from typing import Any, Literal

import msgspec

from engine.decision import RowCited, Words
from engine.errors import RuleError

__all__ = ["Column", "Header", "Row", "Table", "read_table", "shown"]

Row = tuple[Any, ...]

_MOST_CITED = 4096
_BATCH = 4096  # rows
_MOST_REMEMBERED = 50_000  # cells of one column
_EVIDENCE = frozenset({"verified", "single", "recalled"})
_TYPED = {"source": "text", "evidence": "text", "read_on": "date", "valid_from": "date", "valid_to": "date"}


def shown(value: Any) -> Any:
    """Return a value as a trace shows it: a set in order, so that the same facts give the same bytes."""
    return _in_order(value) if isinstance(value, frozenset) else value


@functools.lru_cache(maxsize=4096)
def _in_order(texts: frozenset[str]) -> tuple[str, ...]:
    return tuple(sorted(texts))


class Column(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One column: its type, label, unit and, for coded texts, the words for each code."""

    type: Literal["text", "number", "money", "date", "boolean", "text_set"]
    label: Words | None = None
    unit: str = ""
    options: dict[str, tuple[str, str]] = {}
    doc: str = ""


class Header(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The YAML beside a CSV."""

    id: str
    title: Words
    version: int
    key: tuple[str, ...]
    columns: dict[str, Column]
    source: str
    note: str = ""


class Table:
    """A loaded table: its header and its rows as tuples in column order."""

    __slots__ = ("_cited", "header", "names", "place", "position", "rows", "valid_from", "valid_to")

    def __init__(self, header: Header, rows: list[Row], place: str = "") -> None:
        self.header = header
        self._cited: dict[int, tuple[Row, RowCited]] = {}
        self.rows = rows
        self.place = place
        self.names = tuple(header.columns)
        self.position = {name: i for i, name in enumerate(self.names)}
        self.valid_from = self.position.get("valid_from")
        self.valid_to = self.position.get("valid_to")

    def in_force(self, row: Row, on: dt.date) -> bool:
        """Say whether a row holds on this day."""
        since = row[self.valid_from] if self.valid_from is not None else None
        until = row[self.valid_to] if self.valid_to is not None else None
        return (since is None or since <= on) and (until is None or on < until)

    def cite(self, row: Row) -> RowCited:
        """Name a row by its key, with its source and evidence; often cited rows are remembered."""
        held = self._cited.get(id(row))
        if held is not None and held[0] is row:
            return held[1]
        at = self.position
        cited = RowCited(
            self.header.id,
            {name: shown(row[at[name]]) for name in self.header.key},
            row[at["source"]] or "",
            row[at["evidence"]] or "",
            row[at["read_on"]] if "read_on" in at else None,
        )
        if len(self._cited) >= _MOST_CITED:
            self._cited.clear()
        self._cited[id(row)] = row, cited
        return cited

    def records(self) -> Iterator[dict[str, Any]]:
        """Yield rows as dictionaries."""
        for row in self.rows:
            yield dict(zip(self.names, row, strict=True))


def _number(cell: str) -> float:
    value = float(cell)
    if not math.isfinite(value):  # a limit that no value reaches would never be noticed
        raise ValueError(cell)
    return value


def _money(cell: str) -> Decimal:
    value = Decimal(cell)
    if not value.is_finite():
        raise ValueError(cell)
    return value


def _boolean(cell: str) -> bool:
    if cell not in ("true", "false"):
        raise ValueError(cell)
    return cell == "true"


def _texts(cell: str) -> frozenset[str]:
    parts = frozenset(sys.intern(part.strip()) for part in cell.split("|") if part.strip())
    if not parts:
        raise ValueError(cell)
    return parts


_READ: dict[str, Callable[[str], Any]] = {
    "text": sys.intern,
    "number": _number,
    "money": _money,
    "date": dt.date.fromisoformat,
    "boolean": _boolean,
    "text_set": _texts,
}


def read_table(header_raw: Any, content: bytes | None, place: str) -> tuple[Table | None, list[RuleError]]:
    """Read a header and its CSV; returns the table, or ``None``, and every fault by line and column."""
    try:
        header = msgspec.convert(header_raw, Header)
    except msgspec.ValidationError as error:
        what, _, path = str(error).partition(" - at ")
        where = f"{place}.yaml: {path.strip('`').removeprefix('$.') or 'header'}"
        return None, [RuleError(where, f"{what}.", "See the header of a table beside it.", "K01")]
    errors = list(_header_faults(header, place))
    if content is None:
        errors.append(RuleError(f"{place}.csv", "is missing.", "Put the rows beside their header.", "K01"))
    if errors or content is None:
        return None, errors
    # Decoded line by line: a large file whole, as text, would take several times its size for a moment.
    stream = io.TextIOWrapper(io.BytesIO(content), encoding="utf-8-sig", newline="\n")
    lines = csv.reader(stream, strict=True)
    try:
        return _Rows(header, place).read(lines)
    except csv.Error as error:
        where = f"{place}.csv: line {lines.line_num}"
        return None, [RuleError(where, f"is no CSV ({error}).", "Close quotes; keep cells short.", "K01")]
    except UnicodeDecodeError:
        return None, [_not_utf8(content, place)]


def _not_utf8(content: bytes, place: str) -> RuleError:
    try:
        content.decode("utf-8-sig")
        what = "is not UTF-8."
    except UnicodeDecodeError as error:
        what = f"is not UTF-8 ({error.reason} at byte {error.start})."
    return RuleError(f"{place}.csv", what, "Save it as UTF-8.", "K01")


class _Cells(dict[str, Any]):
    """The values of one column by how they are written, so that equal cells are one object and read once."""

    def __init__(self, read: Callable[[str], Any]) -> None:
        self.read = read

    def __missing__(self, cell: str) -> Any:
        value = self[cell] = self.read(cell) if cell else None
        return value


class _Rows:
    """Read the rows of a table in batches, column by column; a batch with a fault is read row by row."""

    def __init__(self, header: Header, place: str) -> None:
        self.header, self.place = header, place
        self.table = Table(header, [], place)
        self.errors: list[RuleError] = []
        self.columns = [_Cells(_READ[column.type]) for column in header.columns.values()]
        at = self.table.position
        self.source, self.evidence, self.read_on = at["source"], at["evidence"], at.get("read_on")

    def read(self, lines: Any) -> tuple[Table | None, list[RuleError]]:
        """Return the table and every fault, by the lines of a CSV reader."""
        names: list[str] = next(lines, [])
        if names != list(self.header.columns):
            listed = ", ".join(self.header.columns)
            what = f"has the columns {', '.join(names)} where its header lists {listed}."
            where = f"{self.place}.csv: line 1"
            return None, [RuleError(where, what, "List the same columns in the same order.", "K01")]
        width = len(names)
        batch: list[list[str]] = []
        numbers: list[int] = []
        for cells in lines:
            if len(cells) == width:
                batch.append(cells)
                numbers.append(lines.line_num)
                if len(batch) >= _BATCH:
                    self._take(batch, numbers)
                    batch, numbers = [], []
            elif cells:
                self._take(batch, numbers)
                batch, numbers = [], []
                what = f"has {len(cells)} cells where there are {width} columns."
                where = f"{self.place}.csv: line {lines.line_num}"
                self.errors.append(RuleError(where, what, "Quote cells that hold commas.", "K01"))
        self._take(batch, numbers)
        return self.table, self.errors

    def _take(self, batch: list[list[str]], numbers: list[int]) -> None:
        columns: list[list[Any]] = []
        for held, cells in zip(self.columns, zip(*batch, strict=True), strict=False):
            if len(held) > _MOST_REMEMBERED:
                held.clear()
            try:
                columns.append(list(map(held.__getitem__, cells)))
            except (ValueError, InvalidOperation):
                self._take_slowly(batch, numbers)
                return
        if columns and self._provenance_holds(columns):
            self.table.rows.extend(zip(*columns, strict=True))
        else:
            self._take_slowly(batch, numbers)

    def _provenance_holds(self, columns: list[list[Any]]) -> bool:
        evidence = columns[self.evidence]
        if None in columns[self.source] or "" in columns[self.source] or not _EVIDENCE.issuperset(evidence):
            return False
        if self.read_on is None:
            return True
        days = columns[self.read_on]
        return all((day is None) == (said == "recalled") for day, said in zip(days, evidence, strict=True))

    def _take_slowly(self, batch: list[list[str]], numbers: list[int]) -> None:
        for cells, line in zip(batch, numbers, strict=True):
            where = f"{self.place}.csv: line {line}"
            try:
                row = tuple([held[cell] for held, cell in zip(self.columns, cells, strict=True)])
            except (ValueError, InvalidOperation):
                self.errors.extend(_cell_faults(self.header, cells, where))
                continue
            self.table.rows.append(row)
            self.errors.extend(self._provenance_faults(row, where))

    def _provenance_faults(self, row: Row, where: str) -> Iterator[RuleError]:
        if not row[self.source] or row[self.evidence] not in _EVIDENCE:
            yield RuleError(
                where,
                f"has source {row[self.source]!r} and evidence {row[self.evidence]!r}.",
                "Name the document; evidence is verified, single or recalled.",
                "K02",
            )
        elif self.read_on is not None and (row[self.read_on] is None) != (row[self.evidence] == "recalled"):
            yield RuleError(
                where,
                f"says {row[self.evidence]} with read_on {row[self.read_on]}.",
                "A row that was read says when; a recalled one does not.",
                "K02",
            )


def _header_faults(header: Header, place: str) -> Iterator[RuleError]:
    for name in ("source", "evidence"):
        if name not in header.columns:
            yield RuleError(
                f"{place}.yaml: columns", f"lack {name}.", "Every row carries its source and evidence.", "K02"
            )
    for name, wanted in _TYPED.items():
        if name in header.columns and header.columns[name].type != wanted:
            yield RuleError(
                f"{place}.yaml: columns.{name}.type",
                f"is {header.columns[name].type}.",
                f"Write {wanted}.",
                "K01",
            )
    if not header.key:
        yield RuleError(f"{place}.yaml: key", "is empty.", "Name the columns that rules join on.", "K01")
    for name in header.key:
        if name not in header.columns:
            yield RuleError(
                f"{place}.yaml: key", f"names {name}, which is no column.", "Name columns.", "K01"
            )


def _cell_faults(header: Header, cells: list[str], where: str) -> Iterator[RuleError]:
    for (name, column), cell in zip(header.columns.items(), cells, strict=True):
        try:
            if cell:
                _READ[column.type](cell)
        except (ValueError, InvalidOperation):
            yield RuleError(
                f"{where}, {name}",
                f"is {cell!r}, which is no {column.type}.",
                "Mend or empty the cell.",
                "K01",
            )
