"""The verbs of RuleWard at the prompt; the same as over HTTP."""

from __future__ import annotations

import argparse
import datetime as dt
import sys
from collections.abc import Sequence
from pathlib import Path

from adapters.gm_crypto.sm3 import sm3
from adapters.releases.folder import read_folder
from api.accounts_cli import add_verbs as add_account_verbs
from api.archive_cli import add_verbs as add_archive_verbs
from api.audit_cli import add_verbs as add_audit_verbs
from api.backup_cli import add_verbs as add_backup_verbs
from api.keys_cli import add_verbs as add_key_verbs
from engine.cases import run_cases
from engine.decision import Stage
from engine.errors import RuleError, RuleWardError
from engine.lint import examine
from engine.lock import LOCK, lock_of, moved, read_lock, write_lock
from engine.release import Release, read_release
from engine.snapshot import Snapshot

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one verb; returns the exit code."""
    parser = argparse.ArgumentParser(prog="ruleward", description=__doc__)
    verbs = parser.add_subparsers(required=True, metavar="verb")
    _rules_verbs(verbs)
    _serve_verb(verbs)
    _check_verb(verbs)
    add_key_verbs(verbs)
    add_account_verbs(verbs)
    add_audit_verbs(verbs)
    add_backup_verbs(verbs)
    add_archive_verbs(verbs)
    options = parser.parse_args(arguments)
    try:
        code: int = options.run(options)
    except (RuleWardError, ValueError) as error:
        print(f"ruleward: {error}", file=sys.stderr)
        return 1
    return code


def _serve_verb(verbs: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    verb = verbs.add_parser("serve", help="serve over HTTP; settings come from RULEWARD_… variables")
    verb.add_argument("--host", default="127.0.0.1")
    verb.add_argument("--port", type=int, default=8000)
    verb.add_argument("--workers", type=int, default=2)
    verb.add_argument("--certificate", type=Path, help="PEM; with it, TLS 1.3 is spoken here and no HTTP")
    verb.add_argument("--key", type=Path, help="PEM of the certificate's key")
    verb.add_argument(
        "--client-ca", type=Path, help="PEM; only clients with a certificate of it are answered"
    )
    verb.set_defaults(run=_serve)


def _serve(options: argparse.Namespace) -> int:
    from api.serve import serve
    from api.tls import tls_options
    from rules import FOLDER

    tls = tls_options(options.certificate, options.key, options.client_ca)
    return serve(options.host, options.port, options.workers, FOLDER, tls=tls)


def _check_verb(verbs: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    from rules import FOLDER

    verb = verbs.add_parser("check", help="check FHIR bundles: files, folders or tar archives")
    verb.add_argument("paths", nargs="+", type=Path)
    verb.add_argument("--rules", type=Path, default=FOLDER, help="the rules folder")
    verb.add_argument("--stage", type=Stage, choices=list(Stage), default=Stage.ORDER_SIGN)
    verb.add_argument("--language", choices=("zh", "en"), default="zh")
    verb.add_argument(
        "--at", type=dt.datetime.fromisoformat, help="moment of the decision; now when left out"
    )
    verb.set_defaults(run=_check_records)


def _check_records(options: argparse.Namespace) -> int:
    from api.check_records import check_records

    at = options.at or dt.datetime.now().astimezone()
    return check_records(options.paths, options.rules, at, options.stage, options.language, sys.stdout)


def _rules_verbs(verbs: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    from rules import FOLDER

    rules = verbs.add_parser("rules", help="lint rules and run their cases").add_subparsers(required=True)
    for name, run, text in (
        ("check", _check, "lint every rule and run every case"),
        ("lint", _lint, "lint every rule"),
        ("test", _test, "run every case"),
        ("lock", _lock, "lock every rule, table and value as it stands; refuse what moved without a version"),
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


def _lock(options: argparse.Namespace) -> int:
    """Write the release lock of the folder, unless something moved without a new version."""
    release, _, errors = _read(options.folder)
    path = options.folder / LOCK
    now = lock_of(release, sm3)
    faults = list(moved(read_lock(path.read_bytes()), now)) if path.exists() else []
    if _report([*errors, *faults], ()):
        print(f"{path.name} is left as it was")
        return 1
    path.write_bytes(write_lock(now))
    print(f"{path.name}: {len(now.rules)} rules, {len(now.tables)} tables, {len(now.parameters)} parameters")
    return 0


def _check(options: argparse.Namespace) -> int:
    release, snapshot, errors = _read(options.folder)
    count = _report(errors, options.only)
    print(f"{len(release.rules)} rules, {len(release.tables)} tables, {count} faults")
    return _run_cases(release, snapshot, options.only) or (1 if count else 0)


if __name__ == "__main__":
    sys.exit(main())
