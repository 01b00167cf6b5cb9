"""The verb ``ruleward archive``: move old months of the decision log into Parquet files."""

from __future__ import annotations

import argparse
import datetime as dt
import os
from collections.abc import Mapping
from pathlib import Path

from adapters.store.archive import archive_month, months_with_decisions, shortest_retention
from api.audit_cli import open_audit, operator

__all__ = ["add_verbs", "retention"]


def add_verbs(verbs: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add ``archive``."""
    verb = verbs.add_parser("archive", help="move old months of the decision log into Parquet files")
    verb.add_argument("--before", required=True, type=_month, help="a month such as 2026-01, exclusive")
    verb.add_argument("--to", type=Path, help="the folder; archive/ beside the data when left out")
    verb.set_defaults(run=_archive)


def retention(environment: Mapping[str, str]) -> dt.timedelta:
    """Return for how long decisions stay in the database: RULEWARD_RETENTION_DAYS, at least six months."""
    stated = environment.get("RULEWARD_RETENTION_DAYS")
    try:
        kept = dt.timedelta(days=int(stated)) if stated else shortest_retention
    except (ValueError, OverflowError):
        raise ValueError(
            f"RULEWARD_RETENTION_DAYS: {stated} is no number of days. Write 183 or more."
        ) from None
    if kept < shortest_retention:
        raise ValueError(
            f"RULEWARD_RETENTION_DAYS: {stated} days are fewer than six months."
            f" Write {shortest_retention.days} or more."
        )
    return kept


def _month(text: str) -> dt.date:
    return dt.date.fromisoformat(f"{text}-01")


def _archive(options: argparse.Namespace) -> int:
    kept = retention(os.environ)
    opened = open_audit()
    now = opened.now()
    before: dt.date = options.before
    latest = (now.astimezone(dt.UTC) - kept).date().replace(day=1)
    if before > latest:
        raise ValueError(
            f"--before {before:%Y-%m}: decisions stay {kept.days} days (RULEWARD_RETENTION_DAYS)."
            f" Write {latest:%Y-%m} or earlier."
        )
    folder: Path = options.to or opened.settings.data / "archive"
    for month in months_with_decisions(opened.engine, before):
        done = archive_month(opened.engine, opened.ledger, month, folder, at=opened.now(), who=operator())
        print(f"{done.file}: {done.rows} decisions, {done.digest}")
    return 0
