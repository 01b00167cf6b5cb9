"""A table is read whole: every bad cell by its line and column."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal
from typing import Any

import msgspec
import pytest

from engine.knowledge import Table, read_table

TYPES = {
    "code": "text",
    "high": "number",
    "price": "money",
    "day": "date",
    "on": "boolean",
    "agents": "text_set",
    "source": "text",
    "evidence": "text",
    "read_on": "date",
}
HEAD = ",".join(TYPES)
GOOD = "A,1.5,2.50,2026-01-08,true,x| y|,doc,verified,2026-01-08"


def header(**changes: Any) -> dict[str, Any]:
    raw = {
        "id": "t",
        "title": {"zh": "表", "en": "Table"},
        "version": 1,
        "key": ["code"],
        "columns": {name: {"type": type_} for name, type_ in TYPES.items()},
        "source": "A document",
    }
    decoded: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(raw | changes))
    return decoded


def read(*lines: str, **changes: Any) -> tuple[Table | None, list[tuple[str, str]]]:
    table, errors = read_table(header(**changes), "\n".join([HEAD, *lines]).encode(), "t")
    assert all(error.mend for error in errors)
    return table, [(error.where, error.what) for error in errors]


def test_cells_become_values_of_their_type_and_an_empty_one_is_unknown() -> None:
    table, errors = read(GOOD, "B,,,,,,doc,recalled,")
    assert errors == []
    assert table is not None
    first, second = table.rows
    day = dt.date(2026, 1, 8)
    assert first == ("A", 1.5, Decimal("2.50"), day, True, frozenset("xy"), "doc", "verified", day)
    assert second == ("B", None, None, None, None, None, "doc", "recalled", None)
    assert table.cite(first).key == {"code": "A"}
    assert next(table.records())["agents"] == frozenset("xy")


@pytest.mark.parametrize(
    ("column", "cell"),
    [
        ("high", "many"),
        ("high", "nan"),
        ("high", "inf"),
        ("price", "NaN"),
        ("price", "1,5"),
        ("day", "08.01.2026"),
        ("on", "yes"),
        ("agents", "|"),
    ],
)
def test_a_cell_that_is_not_of_its_type(column: str, cell: str) -> None:
    cells = dict(zip(TYPES, GOOD.split(","), strict=True)) | {column: f'"{cell}"'}
    _, errors = read(GOOD, ",".join(cells.values()))
    assert errors == [(f"t.csv: line 3, {column}", f"is {cell!r}, which is no {TYPES[column]}.")]


def test_lines_are_counted_as_an_editor_counts_them() -> None:
    broken = GOOD.replace("doc", '"two\nlines"')
    _, errors = read(broken, "", "A,x", GOOD.replace("1.5", "x"), GOOD.replace("verified", "sure"))
    assert [where for where, _ in errors] == ["t.csv: line 5", "t.csv: line 6, high", "t.csv: line 7"]


@pytest.mark.parametrize(
    ("row", "what"),
    [
        (GOOD.replace("doc", ""), "has source None and evidence 'verified'."),
        (GOOD.replace("verified", "sure"), "has source 'doc' and evidence 'sure'."),
        (GOOD.replace("verified", "recalled"), "says recalled with read_on 2026-01-08."),
        ("A,,,,,,doc,single,", "says single with read_on None."),
        ("A,1", "has 2 cells where there are 9 columns."),
    ],
)
def test_a_row_whose_provenance_does_not_hold(row: str, what: str) -> None:
    assert read(row)[1] == [("t.csv: line 2", what)]


def test_a_file_that_is_no_table() -> None:
    table, errors = read('A,"never closed')
    assert table is None
    assert errors[0][0] == "t.csv: line 2"
    assert errors[0][1].startswith("is no CSV (")
    _, [error] = read_table(header(), "code\xe9".encode("latin-1"), "t")
    assert error.what.startswith("is not UTF-8")
    _, [error] = read_table(header(), None, "t")
    assert (error.where, error.what) == ("t.csv", "is missing.")
    _, [error] = read_table(header(), b"code,high\n", "t")
    assert error.where == "t.csv: line 1"
    _, [error] = read_table(header(), b"", "t")
    assert error.where == "t.csv: line 1"


def test_a_header_that_does_not_hold() -> None:
    columns: dict[str, Any] = header()["columns"]
    bare = {name: column for name, column in columns.items() if name not in ("source", "evidence")}
    _, errors = read_table(header(columns=bare, key=["kode"]), b"", "t")
    assert [(error.where, error.what) for error in errors] == [
        ("t.yaml: columns", "lack source."),
        ("t.yaml: columns", "lack evidence."),
        ("t.yaml: key", "names kode, which is no column."),
    ]
    dated = columns | {"valid_from": {"type": "text"}}
    _, [error] = read_table(header(columns=dated), b"", "t")
    assert (error.where, error.mend) == ("t.yaml: columns.valid_from.type", "Write date.")
    _, [error] = read_table(header(key=[]), b"", "t")
    assert error.where == "t.yaml: key"
    _, [error] = read_table(header(version="one"), b"", "t")
    assert error.where == "t.yaml: version"


def test_a_row_holds_from_its_first_day_to_before_its_last() -> None:
    types = {"code": "text", "valid_from": "date", "valid_to": "date", "source": "text", "evidence": "text"}
    raw = header(columns={name: {"type": type_} for name, type_ in types.items()})
    content = f"{','.join(types)}\nA,2026-01-01,2026-02-01,doc,recalled\nB,,,doc,recalled\n"
    table, errors = read_table(raw, content.encode(), "t")
    assert errors == []
    assert table is not None
    bounded, open_ended = table.rows
    days = [dt.date(2025, 12, 31), dt.date(2026, 1, 1), dt.date(2026, 1, 31), dt.date(2026, 2, 1)]
    assert [table.in_force(bounded, day) for day in days] == [False, True, True, False]
    assert all(table.in_force(open_ended, day) for day in days)
