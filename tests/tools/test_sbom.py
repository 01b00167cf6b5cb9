"""What the service is made of is written down; an audit that could not be made never looks like a pass."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tools.sbom import main, verdict

PURE = {"name": "a", "version": "1", "vulns": []}
SKIPPED = {"name": "b", "skip_reason": "Dependency not found"}
FAULTY = {"name": "c", "version": "2", "vulns": [{"id": "PYSEC-1", "fix_versions": ["3"]}]}


@pytest.mark.parametrize(
    ("written", "code", "begins"),
    [
        ({"dependencies": [PURE]}, 0, "no known vulnerability in 1 "),
        ({"dependencies": [PURE, SKIPPED]}, 0, "no known vulnerability in 1 dependencies; COULD NOT AUDIT 1"),
        ({"dependencies": [SKIPPED]}, 0, "COULD NOT RUN"),
        ({"dependencies": []}, 0, "COULD NOT RUN"),
        ({}, 0, "COULD NOT RUN"),
        ({"dependencies": [PURE, FAULTY]}, 1, "1 known vulnerabilities in 2 dependencies\n   c 2: PYSEC-1"),
    ],
)  # fmt: skip
def test_only_what_was_asked_and_found_clean_is_a_pass(written: object, code: int, begins: str) -> None:
    got, line = verdict(json.dumps(written), "")
    assert got == code
    assert line.startswith(begins)


def test_an_audit_that_broke_off_says_why() -> None:
    assert verdict("", "Traceback\nConnectionError: no route") == (
        0,
        "COULD NOT RUN: pip-audit (ConnectionError: no route); no dependency was audited.",
    )


def test_the_bill_of_materials_names_every_locked_dependency(tmp_path: Path) -> None:
    target = tmp_path / "sbom.json"
    assert main(["write", str(target)]) == 0
    bill = json.loads(target.read_text())
    assert bill["bomFormat"] == "CycloneDX"
    named = {part["name"].lower() for part in bill["components"]}
    lock = Path(__file__).parents[2] / "requirements.lock"
    pinned = [line for line in lock.read_text().splitlines() if "==" in line and line[0].isalnum()]
    locked = {line.partition("==")[0].partition("[")[0].lower() for line in pinned}
    assert locked <= named


def test_an_unknown_verb_is_told_what_there_is() -> None:
    assert main(["guess"]) == 2
