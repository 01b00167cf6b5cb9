"""Share a small world: files in memory, read as a release, compiled and judged."""

from __future__ import annotations

import copy
import datetime as dt
import hashlib
from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from engine.cases import facts_of
from engine.decision import Decision, Stage
from engine.errors import RuleError
from engine.evaluate import evaluate
from engine.lint import CHECKS
from engine.release import Release, read_release
from engine.snapshot import Snapshot, build_snapshot

RULE: dict[str, Any] = {
    "id": "demo.one",
    "title": {"zh": "规则", "en": "Rule"},
    "status": "active",
    "version": 1,
    "valid_from": "2025-01-01",
    "stages": ["order_sign"],
    "when": {"name": "patient.age_years", "operator": "greater_than", "value": 80},
    "then": {"level": "warn", "message": {"zh": "有问题", "en": "A finding"}},
    "references": [{"title": "A document", "read_on": "2026-01-08"}],
}
RULESET = {
    "id": "demo",
    "title": {"zh": "示例", "en": "Demo"},
    "description": {"zh": "示例", "en": "Demo"},
    "owner": "nobody",
}
CASES: list[dict[str, Any]] = [
    {"name": kind, "expect": kind, "on": "2026-03-01", "facts": {}}
    for kind in ("fires", "silent", "not_checked")
]


def digest(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


class Files:
    """The files of a release that a test puts together."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {"demo/ruleset.yaml": msgspec.json.encode(RULESET)}

    def put(self, path: str, content: Any) -> Files:
        """Put one file: bytes as they are, anything else as canonical JSON."""
        self.files[path] = content if isinstance(content, bytes) else msgspec.json.encode(content)
        return self

    def rule(self, name: str = "one", cases: Any = CASES, **changes: Any) -> Files:
        """Put a rule, with what differs from a plain one, and its cases."""
        raw = {**copy.deepcopy(RULE), "id": f"demo.{name}", **changes}
        self.put(f"demo/{name}/rule.yaml", {key: value for key, value in raw.items() if value is not None})
        return self.put(f"demo/{name}/cases.yaml", cases) if cases is not None else self

    def table(self, name: str, key: list[str], types: dict[str, str], *rows: str) -> Files:
        """Put a table; source and evidence are added to each row."""
        columns = {
            column: {"type": type_}
            for column, type_ in {**types, "source": "text", "evidence": "text"}.items()
        }
        header = {
            "id": name,
            "title": {"zh": name, "en": name},
            "version": 1,
            "key": key,
            "columns": columns,
            "source": "A document",
        }
        lines = [",".join(columns), *(f"{row},A document,recalled" for row in rows)]
        self.put(f"knowledge/{name}.yaml", header)
        return self.put(f"knowledge/{name}.csv", "\n".join(lines).encode())

    def parameter(self, name: str, type_: str, *values: tuple[str, Any]) -> Files:
        """Put a parameter by (day, value)."""
        dated = [{"from": day, "value": value, "reference": "A document"} for day, value in values]
        title = {"zh": name, "en": name}
        return self.put(
            f"parameters/{name}.yaml", {"id": name, "title": title, "type": type_, "values": dated}
        )

    def read(self) -> tuple[Release, list[RuleError]]:
        return read_release(self.files, digest)

    def release(self) -> Release:
        """Return the release, which must be readable."""
        release, errors = self.read()
        assert errors == []
        return release

    def compile(self) -> tuple[Snapshot, list[RuleError]]:
        release = self.release()
        return build_snapshot("r1", release.rules, release.tables, release.parameters)

    def snapshot(self) -> Snapshot:
        """Return the snapshot, which must compile."""
        snapshot, errors = self.compile()
        assert [str(error) for error in errors] == []
        return snapshot

    def decide(
        self, facts: dict[str, Any], on: str = "2026-03-01", only: frozenset[str] | None = None
    ) -> Decision:
        """Decide on facts as a case states them."""
        snapshot = self.snapshot()
        at = dt.datetime.fromisoformat(f"{on}T10:00:00")
        return evaluate(snapshot, facts_of(facts, snapshot.drugs), at, Stage.ORDER_SIGN, only)

    def lint(self, code: str) -> list[tuple[str, str, str]]:
        """Return what one check finds, as (where, what, how to mend)."""
        release, _ = self.read()
        return [(error.where, error.what, error.mend) for error in CHECKS[code](release)]


@pytest.fixture
def files() -> Files:
    """Return the files of an empty ruleset ``demo``."""
    return Files()


@pytest.fixture
def faults_of(files: Files) -> Callable[..., list[tuple[str, str, str]]]:
    """Return a function that puts one rule and says what is wrong when it is read and compiled."""

    def faults(**changes: Any) -> list[tuple[str, str, str]]:
        release, errors = files.rule(**changes).read()
        _, more = build_snapshot("r1", release.rules, release.tables, release.parameters)
        place = "rules/demo/one/rule.yaml: "
        return [(error.where.removeprefix(place), error.what, error.mend) for error in [*errors, *more]]

    return faults
