"""The README names every setting that the code reads, and every verb that the prompt has."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from api.cli import main

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
# The one is refused by name in production; the other begins the name of a setting.
NO_SETTINGS = {"RULEWARD_DEMO_PASSWORD", "RULEWARD_INSURANCE"}


def settings_in(text: str) -> set[str]:
    return set(re.findall(r"RULEWARD_[A-Z](?:[A-Z_]*[A-Z])?", text))


def test_the_settings_of_the_readme_are_those_of_the_code() -> None:
    read = {
        name
        for folder in ("api", "adapters")
        for path in (ROOT / folder).rglob("*.py")
        for name in settings_in(path.read_text(encoding="utf-8"))
    }
    assert settings_in(README) == read - NO_SETTINGS


def test_the_verbs_of_the_readme_are_those_of_the_prompt(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--help"])
    there = set(re.findall(r"^    ([a-z]+)  ", capsys.readouterr().out, re.MULTILINE))
    block = README.split("## The command line")[1].split("```")[1]
    named = set(re.findall(r"ruleward ([a-z]+)", block)) | set(
        re.findall(r"; ([a-z]+) [A-Z]+$", block, re.MULTILINE)
    )
    assert there == named
