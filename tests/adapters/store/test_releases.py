"""Releases are stored, announced, refused, and what each worker runs is on record."""

from __future__ import annotations

import datetime as dt

import pytest
import sqlalchemy as sa
from sqlalchemy.engine import Engine

from adapters.store.releases import (
    Announcement,
    Problem,
    WorkerReport,
    announce,
    forget_worker,
    get_release,
    latest_announcement,
    latest_rejection,
    put_release,
    reject,
    report_worker,
    workers,
)

AT = dt.datetime(2026, 3, 1, 8, tzinfo=dt.UTC)
PROBLEMS = (Problem("rules/dosage/x/rule.yaml: then.level", "is 阻止", "Write block."),)


def test_a_release_is_stored_once_and_given_back_byte_for_byte(database: Engine) -> None:
    content = bytes(range(256)) * 100
    assert put_release(database, "sm3:a", content, at=AT, note="first")
    assert not put_release(database, "sm3:a", b"other", at=AT)
    stored = get_release(database, "sm3:a")
    assert stored is not None
    assert (stored.content, stored.created_at, stored.note) == (content, AT, "first")
    assert get_release(database, "sm3:b") is None


def test_the_latest_announcement_wins_even_when_it_goes_back_to_an_older_release(database: Engine) -> None:
    assert latest_announcement(database) is None
    put_release(database, "sm3:a", b"a", at=AT)
    put_release(database, "sm3:b", b"b", at=AT)
    seqs = [announce(database, digest, at=AT) for digest in ("sm3:a", "sm3:b", "sm3:a")]
    assert seqs == sorted(set(seqs))
    assert latest_announcement(database) == Announcement(seqs[-1], "sm3:a", AT)


def test_a_release_that_is_not_stored_cannot_be_announced(database: Engine) -> None:
    with pytest.raises(sa.exc.IntegrityError):
        announce(database, "sm3:nowhere", at=AT)


def test_a_refusal_stands_with_path_and_repair_until_a_later_announcement(database: Engine) -> None:
    assert latest_rejection(database) is None
    put_release(database, "sm3:a", b"a", at=AT)
    announce(database, "sm3:a", at=AT)
    reject(database, PROBLEMS, at=AT, digest="sm3:broken")
    refused = latest_rejection(database)
    assert refused is not None
    assert (refused.problems, refused.release) == (PROBLEMS, "sm3:broken")
    # By the clock it was announced before the refusal; by the order of things, after.
    announce(database, "sm3:a", at=AT - dt.timedelta(hours=1))
    assert latest_rejection(database) is None


def test_each_worker_shows_its_last_report_until_it_leaves_or_falls_silent(database: Engine) -> None:
    for report in (
        WorkerReport("a", 1, "sm3:a", AT),
        WorkerReport("b", 2, "sm3:a", AT),
        WorkerReport("a", 1, "sm3:b", AT + dt.timedelta(seconds=5)),
    ):
        report_worker(database, report)
    assert [(one.id, one.release) for one in workers(database, since=AT)] == [("a", "sm3:b"), ("b", "sm3:a")]
    assert [one.id for one in workers(database, since=AT + dt.timedelta(seconds=1))] == ["a"]
    forget_worker(database, "a")
    assert [one.id for one in workers(database, since=AT)] == ["b"]
