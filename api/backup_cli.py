"""The verbs ``ruleward backup`` and ``ruleward restore``."""

from __future__ import annotations

import argparse
import datetime as dt
import os
from pathlib import Path

from adapters.gm_crypto.sm3 import sm3
from adapters.releases.lead import Lead
from adapters.store.backup import back_up, holds_tables, put_back
from adapters.store.database import upgrade
from api.audit_cli import Opened, open_audit, operator, summary
from api.audit_keeper import verify_all
from api.auditing import read_witness, witness_path
from engine.audit import Kind, event
from engine.errors import RuleWardError

__all__ = ["add_verbs"]


def add_verbs(verbs: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add ``backup`` and ``restore``."""
    backup = verbs.add_parser(
        "backup", help="write the whole database to a file, sealed; the service goes on"
    )
    backup.add_argument("file", type=Path)
    backup.set_defaults(run=_backup)
    restore = verbs.add_parser("restore", help="put a backup back; the service must be stopped")
    restore.add_argument("file", type=Path)
    restore.add_argument("--replace", action="store_true", help="also over a database that holds something")
    restore.set_defaults(run=_restore)


def _backup(options: argparse.Namespace) -> int:
    opened = open_audit()
    header, digest = back_up(opened.engine, options.file, opened.seal, at=opened.now())
    detail: dict[str, str | int] = {
        "backup_index": header.index,
        "file_digest": digest,
        "key_id": header.key,
    }
    _record(opened, Kind.BACKUP, f"backup/{header.id}", detail)
    size = options.file.stat().st_size
    print(f"{options.file}: {size} bytes to audit entry {header.index}, {digest}")
    return 0


def _restore(options: argparse.Namespace) -> int:
    opened = open_audit()
    if holds_tables(opened.engine) and not options.replace:
        raise RuleWardError("The database is not empty. Write --replace if the backup shall take its place.")
    lead = Lead(opened.engine)
    if opened.engine.dialect.name == "sqlite":
        Path(str(opened.engine.url.database)).parent.mkdir(parents=True, exist_ok=True)
    if not lead.take():
        raise RuleWardError(
            "The service runs on this database. Stop it first: ruleward restore replaces all of it."
        )
    try:
        header = put_back(opened.engine, options.file, opened.seal)
        upgrade(opened.engine)
        moved = _set_witness_aside(opened)
        detail: dict[str, str | int] = {
            "backup_at": header.made_at.astimezone(dt.UTC).isoformat(),
            "backup_index": header.index,
            "witness": str(moved.name) if moved else "",
        }
        _record(opened, Kind.RESTORE, f"backup/{header.id}", detail)
        report = verify_all(opened.engine, opened.signer, opened.seal, sm3, ())
    finally:
        lead.give_up()
    for fault in report.faults:
        print(f"{fault.wrong}: {fault.what}")
    print(summary(report, 0, len(report.faults)))
    if moved:
        lost = max((one.head.index for one in read_witness(moved)), default=0) - header.index
        print(
            f"The witness's heads lie in {moved}; a new file begins."
            f" {max(0, lost)} entries that they cover are lost."
        )
    return 1 if report.faults else 0


def _set_witness_aside(opened: Opened) -> Path | None:
    """Begin a new witness's file: the old one tells, rightly and for ever, that a state was lost."""
    path = witness_path(os.environ, opened.settings.data)
    if path is None or not path.exists():
        return None
    aside = path.with_name(f"{path.name}.until-{opened.now():%Y%m%dT%H%M%S}")
    path.rename(aside)
    return aside


def _record(opened: Opened, kind: Kind, name: str, detail: dict[str, str | int]) -> None:
    noted = event(kind, at=opened.now(), who=operator(), source="cli", object=name, detail=detail)
    opened.ledger.record(opened.engine, noted)
