"""The verbs of RuleWard at the prompt; the same as over HTTP."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from adapters.gm_crypto.sm3 import sm3
from adapters.releases.folder import read_folder
from engine.cases import run_cases
from engine.errors import RuleError
from engine.lint import examine
from engine.release import Release, read_release
from engine.snapshot import Snapshot

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one verb; returns the exit code."""
    parser = argparse.ArgumentParser(prog="ruleward", description=__doc__)
    verbs = parser.add_subparsers(required=True, metavar="verb")
    _rules_verbs(verbs)
    options = parser.parse_args(arguments)
    code: int = options.run(options)
    return code


def _rules_verbs(verbs: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    from rules import FOLDER

    rules = verbs.add_parser("rules", help="lint rules and run their cases").add_subparsers(required=True)
    for name, run, text in (
        ("check", _check, "lint every rule and run every case"),
        ("lint", _lint, "lint every rule"),
        ("test", _test, "run every case"),
    ):
        verb = rules.add_parser(name, help=text)
        verb.add_argument("--folder", type=Path, default=FOLDER, help="the rules folder")
        verb.add_argument("only", nargs="*", help="ids of rules or rulesets; all when left out")
        verb.set_defaults(run=run)


def _wanted(rule: str, only: Sequence[str]) -> bool:
    return not only or any(rule == one or rule.startswith(f"{one}.") for one in only)


def _read(folder: Path) -> tuple[Release, Snapshot, list[RuleError]]:
    files, errors = read_folder(folder)
    release, faults = read_release(files, sm3)
    snapshot, found = examine(release)
    return release, snapshot, [*errors, *faults, *found]


def _report(errors: Sequence[RuleError], only: Sequence[str]) -> int:
    shown = [
        error for error in errors if not only or any(one.replace(".", "/") in error.where for one in only)
    ]
    for error in shown:
        print(f"{error.check} {error.where}\n    {error.what} {error.mend}")
    return len(shown)


def _lint(options: argparse.Namespace) -> int:
    release, _, errors = _read(options.folder)
    count = _report(errors, options.only)
    print(f"{len(release.rules)} rules, {len(release.tables)} tables, {count} faults")
    return 1 if count else 0


def _test(options: argparse.Namespace) -> int:
    release, snapshot, _ = _read(options.folder)
    return _run_cases(release, snapshot, options.only)


def _run_cases(release: Release, snapshot: Snapshot, only: Sequence[str]) -> int:
    passed = failed = 0
    wanted = [rule.id for rule in release.rules if _wanted(rule.id, only)]
    for rule, case, wrong in run_cases(release, snapshot, wanted):
        if wrong is None:
            passed += 1
        else:
            failed += 1
            print(f"{rule}: {case.name}: {wrong}")
    print(f"{passed} passed, {failed} failed")
    return 1 if failed else 0


def _check(options: argparse.Namespace) -> int:
    release, snapshot, errors = _read(options.folder)
    count = _report(errors, options.only)
    print(f"{len(release.rules)} rules, {len(release.tables)} tables, {count} faults")
    return _run_cases(release, snapshot, options.only) or (1 if count else 0)


if __name__ == "__main__":
    sys.exit(main())
