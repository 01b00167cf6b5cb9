"""The shipped rules are what their lock says: nothing moves without a new version."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from adapters.gm_crypto.sm3 import sm3
from adapters.releases.folder import read_folder
from api.cli import main
from engine.lock import LOCK, Lock, lock_of, moved, read_lock, stale, write_lock
from engine.release import read_release
from rules import FOLDER


def lock_now(folder: Path) -> Lock:
    files, errors = read_folder(folder)
    assert errors == []
    release, faults = read_release(files, sm3)
    assert faults == []
    return lock_of(release, sm3)


def test_the_shipped_rules_are_those_of_their_lock() -> None:
    locked = read_lock((FOLDER / LOCK).read_bytes())
    assert [str(fault) for fault in stale(locked, lock_now(FOLDER))] == []


RULE = """\
id: demo.old_patient
title: {zh: 高龄, en: Old patient}
status: active
version: 1
valid_from: 2025-01-01
stages: [order_sign]
when: {name: patient.age_years, operator: greater_than, value: {parameter: old_age}}
then: {level: note, message: {zh: 高龄, en: Old}}
references: [{title: A document, read_on: 2026-01-08}]
"""
CASES = """\
- {name: an old patient, expect: fires, on: 2026-03-01, facts: {patient: {age_years: 90}}}
- {name: a young patient, expect: silent, on: 2026-03-01, facts: {patient: {age_years: 20}}}
- {name: no age, expect: not_checked, on: 2026-03-01, facts: {}, missing: [patient.age_years]}
"""
PARAMETER = """\
id: old_age
title: {zh: 高龄, en: Old age}
type: number
unit: a
values: [{from: 2020-01-01, value: 80, reference: A document}]
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a rules folder with one rule and one parameter, locked."""
    rule = tmp_path / "rules" / "demo" / "old_patient"
    rule.mkdir(parents=True)
    (rule / "rule.yaml").write_text(RULE, "utf-8")
    (rule / "cases.yaml").write_text(CASES, "utf-8")
    page = "{id: demo, title: {zh: 示例, en: Demo}, description: {zh: 示例, en: Demo}, owner: nobody}\n"
    (rule.parent / "ruleset.yaml").write_text(page, "utf-8")
    (tmp_path / "rules" / "parameters").mkdir()
    (tmp_path / "rules" / "parameters" / "old_age.yaml").write_text(PARAMETER, "utf-8")
    assert main(["rules", "lock", "--folder", str(tmp_path / "rules")]) == 0
    return tmp_path / "rules"


def rewrite(path: Path, old: str, new: str) -> None:
    text = path.read_text("utf-8")
    assert old in text
    path.write_text(text.replace(old, new), "utf-8")


def test_a_comment_moves_nothing(folder: Path) -> None:
    path = folder / "demo" / "old_patient" / "rule.yaml"
    path.write_text("# a comment\n" + path.read_text("utf-8"), "utf-8")
    assert list(stale(read_lock((folder / LOCK).read_bytes()), lock_now(folder))) == []


def test_a_rule_that_moves_without_a_version_is_refused_and_the_lock_stays(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = (folder / LOCK).read_bytes()
    rewrite(folder / "demo" / "old_patient" / "rule.yaml", "level: note", "level: warn")
    assert main(["rules", "lock", "--folder", str(folder)]) == 1
    assert (folder / LOCK).read_bytes() == before
    said = capsys.readouterr().out
    assert "L01 rules/demo/old_patient/rule.yaml: version" in said
    assert "Write 2" in said


def test_a_rule_that_moves_with_a_version_is_locked_anew(folder: Path) -> None:
    path = folder / "demo" / "old_patient" / "rule.yaml"
    rewrite(path, "level: note", "level: warn")
    rewrite(path, "version: 1", "version: 2")
    [fault] = stale(read_lock((folder / LOCK).read_bytes()), lock_now(folder))
    assert fault.where == "rules/release.lock.json"
    assert "demo.old_patient" in fault.what
    assert main(["rules", "lock", "--folder", str(folder)]) == 0
    locked = json.loads((folder / LOCK).read_bytes())
    assert locked["rules"]["demo.old_patient"]["version"] == 2


def test_a_locked_rule_cannot_vanish(folder: Path) -> None:
    locked = read_lock((folder / LOCK).read_bytes())
    shutil.rmtree(folder / "demo")
    [fault] = moved(locked, lock_now(folder))
    assert fault.mend == "Keep it with status: retired and a note."


def test_a_parameter_takes_a_new_day_but_keeps_its_old_values(folder: Path) -> None:
    locked = read_lock((folder / LOCK).read_bytes())
    path = folder / "parameters" / "old_age.yaml"
    new_day = ", {from: 2026-01-01, value: 75, reference: A document}]"
    rewrite(path, "reference: A document}]", "reference: A document}" + new_day)
    assert list(moved(locked, lock_now(folder))) == []
    rewrite(path, "value: 80", "value: 79")
    [fault] = moved(locked, lock_now(folder))
    assert fault.where == "rules/parameters/old_age.yaml: values"
    assert fault.what == "no longer say 80.0 from 2020-01-01."


def test_a_lock_is_read_as_it_was_written(folder: Path) -> None:
    now = lock_now(folder)
    assert read_lock(write_lock(now)) == now
