"""A parameter has the value of its day, and every value has its type."""

from __future__ import annotations

import datetime as dt
from typing import Any

import pytest

from engine.parameters import read_parameter


def raw(type_: str, *values: tuple[str, Any]) -> dict[str, Any]:
    dated = [{"from": day, "value": value, "reference": "A document"} for day, value in values]
    return {"id": "p", "title": {"zh": "参数", "en": "Parameter"}, "type": type_, "values": dated}


def test_the_value_is_that_of_the_day() -> None:
    parameter, errors = read_parameter(raw("number", ("2025-01-01", 14), ("2026-01-01", 18)), "p.yaml")
    assert errors == []
    assert parameter is not None
    assert parameter.at(dt.date(2024, 12, 31)) is None
    held = [parameter.at(day) for day in (dt.date(2025, 12, 31), dt.date(2026, 1, 1), dt.date(2030, 1, 1))]
    assert [value.value for value in held if value] == [14, 18, 18]


@pytest.mark.parametrize(
    ("type_", "value"),
    [
        ("number", "14"),
        ("number", True),
        ("money", "free"),
        ("money", "NaN"),
        ("text", 3),
        ("text_set", "a"),
        ("boolean", 1),
        ("date", "soon"),
    ],
)
def test_a_value_of_another_type_is_refused(type_: str, value: Any) -> None:
    parameter, [error] = read_parameter(raw(type_, ("2025-01-01", value)), "p.yaml")
    assert parameter is None
    assert error.where == "p.yaml: values[0].value"
    assert error.mend == f"Write a {type_}."


@pytest.mark.parametrize(
    ("type_", "value"),
    [
        ("number", 1.5),
        ("money", "1.50"),
        ("money", 2),
        ("text", "a"),
        ("text_set", ["a"]),
        ("boolean", False),
        ("date", "2026-01-01"),
    ],
)
def test_a_value_of_its_type_is_read(type_: str, value: Any) -> None:
    assert read_parameter(raw(type_, ("2025-01-01", value)), "p.yaml")[1] == []


@pytest.mark.parametrize(
    "values", [[], [("2026-01-01", 1), ("2025-01-01", 2)], [("2026-01-01", 1), ("2026-01-01", 2)]]
)
def test_days_stand_in_order_each_once(values: list[tuple[str, Any]]) -> None:
    _, [error] = read_parameter(raw("number", *values), "p.yaml")
    assert error.what == "are empty or not in order of their days."


def test_a_file_of_the_wrong_shape_is_named_by_path() -> None:
    _, [error] = read_parameter({**raw("number", ("2025-01-01", 1)), "type": "length"}, "p.yaml")
    assert error.where == "p.yaml: type"
