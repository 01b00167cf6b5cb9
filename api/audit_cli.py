"""The verbs of ``ruleward audit``: verify the log, sign and show its head, take entries along."""

from __future__ import annotations

import argparse
import datetime as dt
import os
import sys
from dataclasses import dataclass
from pathlib import Path

import sqlalchemy as sa

from adapters.gm_crypto.envelope import EnvelopeSeal
from adapters.gm_crypto.settings import in_demo_mode, open_keys, read
from adapters.gm_crypto.sm3 import sm3
from adapters.store.audit_ledger import Ledger
from adapters.store.audit_reading import (
    Sought,
    altered_decisions,
    archived_before,
    latest_head,
    reading,
    search,
    sign_head,
)
from adapters.store.database import open_database
from api.audit_keeper import verify_all
from api.audit_text import Counted, as_csv, as_ndjson
from api.auditing import KeySigner, head_line, read_witness, write_witness
from api.settings import Settings, read_settings
from engine.audit import Kind, event
from engine.audit_verify import Fault, Report, Standing
from engine.errors import RuleWardError

__all__ = ["Opened", "add_verbs", "open_audit", "operator", "summary"]


@dataclass(frozen=True)
class Opened:
    """What the verbs need."""

    settings: Settings
    engine: sa.Engine
    seal: EnvelopeSeal
    signer: KeySigner
    ledger: Ledger

    def now(self) -> dt.datetime:
        """Return the time at the site."""
        return dt.datetime.now(self.settings.zone)


def open_audit() -> Opened:
    """Open database and keys as the service does, from the environment."""
    from rules import FOLDER

    settings = read_settings(os.environ, FOLDER)
    provider, store = open_keys(read(os.environ, settings.data, demo=in_demo_mode(os.environ)))
    engine = open_database(settings.database_url, patience=settings.patience)
    seal = EnvelopeSeal(provider, store)
    return Opened(settings, engine, seal, KeySigner(provider, store), Ledger(engine.dialect.name, sm3, seal))


def operator() -> str:
    """Return who sits at the prompt, by the machine's word."""
    return f"cli:{os.environ.get('SUDO_USER') or os.environ.get('USER') or os.getuid()}"


def add_verbs(verbs: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add ``audit`` and what belongs to it."""
    audit = verbs.add_parser("audit", help="verify the audit log, or take it along").add_subparsers(
        required=True
    )
    check = audit.add_parser(
        "verify", help="name every entry that was altered, taken out, put in, moved or cut off"
    )
    check.add_argument("--witness", type=Path, help="a copy of the signed heads kept elsewhere")
    check.add_argument(
        "--decisions", action="store_true", help="compare every decision with its entry too: takes longer"
    )
    check.set_defaults(run=_verify)
    head = audit.add_parser("head", help="verify the log, sign its head and show it as a line")
    head.add_argument("--to", type=Path, help="append the line to a witness's file")
    head.set_defaults(run=_head)
    export = audit.add_parser("export", help="write entries, newest first; tells rows and SM3 digest")
    export.add_argument("file", type=Path)
    export.add_argument("--format", choices=("csv", "ndjson"), default="ndjson")
    export.add_argument("--who")
    export.add_argument("--kind", type=Kind, choices=list(Kind))
    export.add_argument("--patient", help="the patient's id")
    export.add_argument("--since", type=_moment, help="such as 2026-03-01 or 2026-03-01T08:00+08:00")
    export.add_argument("--until", type=_moment, help="exclusive")
    export.set_defaults(run=_export)


def _moment(text: str) -> dt.datetime:
    moment = dt.datetime.fromisoformat(text)
    return moment if moment.tzinfo else moment.astimezone()


def _verify(options: argparse.Namespace) -> int:
    opened = open_audit()
    witnessed = read_witness(options.witness) if options.witness else []
    report = verify_all(opened.engine, opened.signer, opened.seal, sm3, witnessed)
    faults: list[Fault] = list(report.faults)
    if options.decisions:
        with reading(opened.engine) as connection:
            before = archived_before(connection)
            faults += altered_decisions(connection, sm3, opened.seal, before)
    for fault in faults:
        print(f"{fault.wrong}: {fault.what}")
    print(summary(report, len(witnessed), len(faults)))
    if not witnessed:
        print(
            "No witness was given, so a restored older state does not show. Bring --witness, kept elsewhere."
        )
    return 1 if faults else 0


def summary(report: Report, witnessed: int, faults: int) -> str:
    """Say in a line what a verification covered."""
    return (
        f"chain {report.chain}: {report.entries} entries to index {report.index}, {report.heads} signed heads"
        f" to index {report.signed_to}, {witnessed} heads of the witness, {faults} faults"
    )


def _head(options: argparse.Namespace) -> int:
    opened = open_audit()
    report = verify_all(opened.engine, opened.signer, opened.seal, sm3, ())
    if report.faults:
        for fault in report.faults:
            print(f"{fault.wrong}: {fault.what}", file=sys.stderr)
        raise RuleWardError("The audit log is not whole, so its head is not signed: ruleward audit verify")
    with reading(opened.engine) as connection:
        newest = latest_head(connection)
    if newest is None or newest.head.index < report.index:
        seen = Standing(report.chain, report.index, report.digest)
        newest = sign_head(opened.engine, opened.signer, sm3, opened.now(), seen, newest)
        if newest is None:
            raise RuleWardError("Another process signed a head meanwhile. Ask again.")
    if options.to:
        write_witness(options.to, [newest])
    sys.stdout.write(head_line(newest).decode())
    return 0


def _export(options: argparse.Namespace) -> int:
    opened = open_audit()
    sought = Sought(
        who=options.who,
        kind=options.kind,
        patient=opened.ledger.blind(options.patient) if options.patient else None,
        since=options.since,
        until=options.until,
    )
    form = as_csv if options.format == "csv" else as_ndjson
    with reading(opened.engine) as connection, options.file.open("wb") as out:
        counted = Counted(search(connection, sought))
        for piece in counted.pieces(form(counted.links())):
            out.write(piece)
    digest = counted.digest()
    detail: dict[str, str | int] = {
        "file_digest": digest,
        "format": options.format,
        "rows": counted.rows,
    }
    opened.ledger.record(
        opened.engine,
        event(Kind.EXPORT, at=opened.now(), who=operator(), source="cli", object="audit", detail=detail),
    )
    print(f"{options.file}: {counted.rows} rows, {digest}")
    return 0
