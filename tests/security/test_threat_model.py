"""The threat model is a table that can be checked: six letters an entry point, and tests that exist."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
MODEL = ROOT / "docs" / "security" / "threat-model.md"
NAMED = re.compile(r"`(tests/[\w/]+\.py)::(test_\w+)`")


def sections() -> dict[str, list[list[str]]]:
    """Return entry point -> rows of (letter, threat, control, shown by)."""
    found: dict[str, list[list[str]]] = {}
    for part in MODEL.read_text(encoding="utf-8").split("\n## ")[1:]:
        title, _, text = part.partition("\n")
        rows = [line.strip("|").split("|") for line in text.splitlines() if line.startswith("|")]
        found[title] = [[cell.strip() for cell in row] for row in rows[2:]]
    return found


@cache
def names_in(path: str) -> frozenset[str]:
    return frozenset(
        re.findall(r"^(?:async )?def (test_\w+)", (ROOT / path).read_text("utf-8"), re.MULTILINE)
    )


@pytest.mark.parametrize("point", sections())
def test_every_entry_point_is_looked_at_from_all_six_sides(point: str) -> None:
    assert {row[0] for row in sections()[point]} == set("STRIDE")


@pytest.mark.parametrize("point", sections())
def test_every_control_names_tests_that_are_there_or_says_that_it_is_a_gap(point: str) -> None:
    for letter, threat, control, shown in sections()[point]:
        named = NAMED.findall(shown)
        assert named or control.startswith("Gap: "), f"{letter} {threat}: neither a test nor a gap"
        for path, test in named:
            assert (ROOT / path).exists(), f"{path} is not there"
            assert test in names_in(path), f"{path} has no {test}"


def test_all_entry_points_are_there() -> None:
    assert len(sections()) == 9
