"""Hold content to its version: what was locked may move only with a higher version.

The lock lists every rule that is no draft and every table with version and digest, and every parameter with
its values by day. It is kept beside the rules, so that a change without a new version is seen in review.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from engine.errors import RuleError
from engine.ports import Digest
from engine.release import Release

__all__ = ["LOCK", "Lock", "Locked", "lock_of", "moved", "read_lock", "stale", "write_lock"]

LOCK = "release.lock.json"
"""The name of the lock in the rules folder."""

_CODE = "L01"


class Locked(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One rule or table as it was when it was locked."""

    version: int
    digest: str


class Lock(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """All that is locked, by id; ``parameters`` gives each value by the day from which it holds."""

    rules: dict[str, Locked] = {}
    tables: dict[str, Locked] = {}
    parameters: dict[str, dict[str, Any]] = {}


def lock_of(release: Release, digest: Digest) -> Lock:
    """Return the lock of a release as it stands; a draft may still move, so it is not in it."""
    files = release.manifest.files
    rules = {
        rule.id: Locked(rule.version, files[f"{rule.id.replace('.', '/')}/rule.yaml"])
        for rule in release.rules
        if rule.status != "draft"
    }
    tables = {}
    for name, table in release.tables.items():
        both = f"{files[f'knowledge/{name}.yaml']}\n{files[f'knowledge/{name}.csv']}"
        tables[name] = Locked(table.header.version, digest(both.encode()))
    parameters = {
        name: {value.since.isoformat(): _as_json(value.value) for value in parameter.values}
        for name, parameter in release.parameters.items()
    }
    return Lock(rules, tables, parameters)


def read_lock(content: bytes) -> Lock:
    """Read a lock file. Raises ``msgspec.ValidationError`` (a ``ValueError``) for what is none."""
    return msgspec.json.decode(content, type=Lock)


def write_lock(lock: Lock) -> bytes:
    """Return a lock as a file that is easy to compare: sorted, one entry a line or two."""
    return msgspec.json.format(msgspec.json.encode(lock, order="sorted"), indent=1) + b"\n"


def moved(locked: Lock, now: Lock) -> Iterator[RuleError]:
    """Yield what moved although it was locked: content without a version, rules taken away, old values."""
    for rule_id, held in locked.rules.items():
        place = f"rules/{rule_id.replace('.', '/')}/rule.yaml"
        if rule_id not in now.rules:
            yield RuleError(
                place, "was locked and is gone or a draft.", "Keep it with status: retired and a note.", _CODE
            )
        else:
            yield from _moved(place, held, now.rules[rule_id])
    for name, held in locked.tables.items():
        if name in now.tables:
            yield from _moved(f"rules/knowledge/{name}.yaml", held, now.tables[name])
    for name, values in locked.parameters.items():
        for since, value in values.items():
            if name in now.parameters and now.parameters[name].get(since) != value:
                yield RuleError(
                    f"rules/parameters/{name}.yaml: values",
                    f"no longer say {value} from {since}.",
                    "Leave old values as they are, so that old days can be decided again; add a new day.",
                    _CODE,
                )


def _moved(place: str, held: Locked, now: Locked) -> Iterator[RuleError]:
    if held.digest != now.digest and now.version <= held.version:
        yield RuleError(
            f"{place}: version",
            f"is {now.version}, but the content is not that of version {held.version}.",
            f"Write {held.version + 1}, then run `ruleward rules lock`.",
            _CODE,
        )
    elif now.version < held.version:
        yield RuleError(
            f"{place}: version", f"is {now.version} after {held.version}.", "Count upwards.", _CODE
        )


def stale(locked: Lock, now: Lock) -> Iterator[RuleError]:
    """Yield what moved, and what the lock does not show yet."""
    faults = list(moved(locked, now))
    yield from faults
    if not faults and locked != now:
        names = sorted(
            {*_changed(locked.rules, now.rules), *_changed(locked.tables, now.tables)}
            | {*_changed(locked.parameters, now.parameters)}
        )
        yield RuleError(
            f"rules/{LOCK}",
            f"does not show {', '.join(names)} as they are.",
            "Run `ruleward rules lock`.",
            _CODE,
        )


def _changed(locked: Mapping[str, Any], now: Mapping[str, Any]) -> Iterator[str]:
    return (name for name in {*locked, *now} if locked.get(name) != now.get(name))


def _as_json(value: Any) -> Any:
    """Return a parameter's value as the lock file gives it back: texts as a list, a day as text."""
    return list(value) if isinstance(value, tuple) else msgspec.to_builtins(value)
