"""Check a release for what compiles but should not go in force; one check a file, all faults at once.

A file ``<code>_<name>.py`` holds ``CODE`` and ``check(release)``, which yields faults; it is found by itself.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Iterator

from engine.errors import RuleError
from engine.release import Release
from engine.snapshot import Snapshot, build_snapshot

__all__ = ["CHECKS", "examine"]

CHECKS: dict[str, Callable[[Release], Iterator[RuleError]]] = {}
"""Every lint check by its code."""

for _module in pkgutil.iter_modules(__path__):
    if not _module.name.startswith("_"):
        _loaded = importlib.import_module(f"{__name__}.{_module.name}")
        CHECKS[_loaded.CODE] = _loaded.check


def examine(release: Release) -> tuple[Snapshot, list[RuleError]]:
    """Compile a release and run every lint check; returns the snapshot and every fault by place."""
    snapshot, errors = build_snapshot(
        release.manifest.digest, release.rules, release.tables, release.parameters
    )
    for check in CHECKS.values():
        errors += check(release)
    return snapshot, sorted(errors, key=lambda error: error.where)
