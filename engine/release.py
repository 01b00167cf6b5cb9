"""Read a release: what experts wrote, with its manifest of digests.

Files arrive as canonical bytes (YAML already turned into compact JSON, CSV with plain line ends), so that a
digest moves when the meaning moves and not when a comment does.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

import msgspec
import rfc8785

from engine.decision import Words
from engine.errors import ReleaseError, RuleError
from engine.knowledge import Table, read_table
from engine.parameters import Parameter, read_parameter
from engine.ports import Digest
from engine.rule import Rule, read_rule

__all__ = ["Manifest", "Release", "Ruleset", "manifest_of", "read_release", "verify_files"]

_RULE = re.compile(r"^(?P<ruleset>[a-z][a-z0-9_]*)/(?P<name>[a-z][a-z0-9_]*)/rule\.yaml$")
_CASES = re.compile(r"^(?P<ruleset>[a-z][a-z0-9_]*)/(?P<name>[a-z][a-z0-9_]*)/cases\.yaml$")
_RULESET = re.compile(r"^(?P<ruleset>[a-z][a-z0-9_]*)/ruleset\.yaml$")
_TABLE = re.compile(r"^knowledge/(?P<name>[a-z][a-z0-9_]*)\.yaml$")
_ROWS = re.compile(r"^knowledge/(?P<name>[a-z][a-z0-9_]*)\.csv$")
_PARAMETER = re.compile(r"^parameters/(?P<name>[a-z][a-z0-9_]*)\.yaml$")


class Manifest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The files of a release by path, each with its digest; ``digest`` is that of the list itself."""

    files: dict[str, str]
    digest: str


class Ruleset(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The page of a ruleset."""

    id: str
    title: Words
    description: Words
    owner: str


class Release(msgspec.Struct, frozen=True):
    """A release as read: nothing compiled yet. ``cases`` holds raw case lists by rule id."""

    manifest: Manifest
    rulesets: dict[str, Ruleset]
    rules: tuple[Rule, ...]
    tables: dict[str, Table]
    parameters: dict[str, Parameter]
    cases: dict[str, Any]


def manifest_of(files: Mapping[str, bytes], digest: Digest) -> Manifest:
    """List the digests of canonical files, and the digest of that list."""
    listed = {path: digest(files[path]) for path in sorted(files)}
    return Manifest(listed, digest(rfc8785.dumps(listed)))


def verify_files(files: Mapping[str, bytes], manifest: Manifest, digest: Digest) -> None:
    """Raise ``ReleaseError`` unless the files are exactly those of the manifest."""
    actual = manifest_of(files, digest)
    if actual == manifest:
        return
    wrong = sorted(
        path
        for path in {*actual.files, *manifest.files}
        if actual.files.get(path) != manifest.files.get(path)
    )
    raise ReleaseError(f"altered, missing or extra: {', '.join(wrong) or 'the manifest digest itself'}")


class _Files:
    """The files of a release by kind."""

    def __init__(
        self,
        files: Mapping[str, bytes],
        manifest: Manifest,
        before: Release | None,
        rest: Callable[[], None],
    ) -> None:
        self.files, self.manifest, self.before, self.rest = files, manifest, before, rest
        self.errors: list[RuleError] = []

    def json(self, path: str) -> Any:
        try:
            return msgspec.json.decode(self.files[path])
        except msgspec.DecodeError as error:
            self.errors.append(
                RuleError(f"rules/{path}", f"cannot be read: {error}.", "Mend the file.", "F01")
            )
            return None

    def known(self, *paths: str) -> Release | None:
        """Return the release before if it has the same content at these paths."""
        self.rest()
        before = self.before
        if before is None:
            return None
        same = all(self.manifest.files.get(path, "") == before.manifest.files.get(path) for path in paths)
        return before if same else None

    def matching(self, pattern: re.Pattern[str]) -> list[tuple[str, re.Match[str]]]:
        return [(path, found) for path in sorted(self.files) if (found := pattern.match(path))]


def _no_rest() -> None:
    return None


def read_release(
    files: Mapping[str, bytes],
    digest: Digest,
    before: Release | None = None,
    rest: Callable[[], None] = _no_rest,
) -> tuple[Release, list[RuleError]]:
    """Read canonical files; returns what could be read and every fault by path.

    ``before`` is a release without faults: what its files hold under the same digests is taken from it, not
    read again. ``rest`` is called between files, so that others get their turn.
    """
    manifest = manifest_of(files, digest)
    source = _Files(files, manifest, before, rest)
    errors = source.errors
    known = (_RULE, _CASES, _RULESET, _TABLE, _ROWS, _PARAMETER)
    for path in files:
        if not any(pattern.match(path) for pattern in known):
            mend = (
                "Put rules at <ruleset>/<rule>/rule.yaml, tables under knowledge/, numbers under parameters/."
            )
            errors.append(RuleError(f"rules/{path}", "has no place here.", mend, "F02"))
    rulesets: dict[str, Ruleset] = {}
    for path, found in source.matching(_RULESET):
        try:
            rulesets[found["ruleset"]] = msgspec.convert(source.json(path), Ruleset)
        except msgspec.ValidationError as error:
            errors.append(
                RuleError(f"rules/{path}", f"{error}.", "Give id, title, description, owner.", "F03")
            )
    rules = _rules(source, rulesets)
    tables: dict[str, Table] = {}
    for path, found in source.matching(_TABLE):
        name = found["name"]
        rows = f"knowledge/{name}.csv"
        before_it = source.known(path, rows)
        table, faults = (
            (before_it.tables[name], [])
            if before_it is not None
            else read_table(source.json(path), files.get(rows), f"rules/knowledge/{name}")
        )
        errors += faults
        if table is not None:
            tables[name] = table
            if table.header.id != name:
                errors.append(
                    RuleError(f"rules/{path}: id", f"is {table.header.id}.", f"Write {name}.", "F04")
                )
    parameters: dict[str, Parameter] = {}
    for path, found in source.matching(_PARAMETER):
        before_it = source.known(path)
        parameter, faults = (
            (before_it.parameters[found["name"]], [])
            if before_it is not None
            else read_parameter(source.json(path), f"rules/{path}")
        )
        errors += faults
        if parameter is not None:
            parameters[found["name"]] = parameter
            if parameter.id != found["name"]:
                errors.append(
                    RuleError(f"rules/{path}: id", f"is {parameter.id}.", f"Write {found['name']}.", "F04")
                )
    cases = {
        f"{found['ruleset']}.{found['name']}": source.json(path) for path, found in source.matching(_CASES)
    }
    release = Release(manifest, rulesets, tuple(rules), tables, parameters, cases)
    return release, errors


def _rules(source: _Files, rulesets: Mapping[str, Ruleset]) -> list[Rule]:
    rules: list[Rule] = []
    earlier = {rule.id: rule for rule in source.before.rules} if source.before is not None else {}
    for path, found in source.matching(_RULE):
        held = earlier.get(f"{found['ruleset']}.{found['name']}") if source.known(path) is not None else None
        rule, faults = (held, []) if held is not None else read_rule(source.json(path), f"rules/{path}")
        source.errors += faults
        wanted = f"{found['ruleset']}.{found['name']}"
        if found["ruleset"] not in rulesets:
            source.errors.append(
                RuleError(f"rules/{path}", "is in a folder without ruleset.yaml.", "Write that page.", "F03")
            )
        if rule is None:
            continue
        if rule.id != wanted:
            source.errors.append(RuleError(f"rules/{path}: id", f"is {rule.id}.", f"Write {wanted}.", "F04"))
            continue
        if not faults:
            rules.append(rule)
    return rules
