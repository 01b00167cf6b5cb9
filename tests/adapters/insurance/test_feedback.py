"""NHSA 3103: what the user did with a warning is taken whole or refused whole."""

from __future__ import annotations

import datetime as dt
from typing import Any

import pytest

from adapters.insurance.feedback import read_feedback
from adapters.insurance.reading import ShapeError
from engine.errors import FactsError

NOW = dt.datetime(2026, 3, 1, 12, 0, tzinfo=dt.timezone(dt.timedelta(hours=8)))


def message(*warns: dict[str, Any], **envelope: Any) -> dict[str, Any]:
    return {"infno": "3103", "input": {"data": {"warn_type": "1", "warns": list(warns)}}, **envelope}


def test_going_back_to_change_the_order_is_accepted() -> None:
    (entry,) = read_feedback(message({"warn_rslt_id": "J1", "dspo_way": "2"}), NOW)
    assert (entry.card, entry.outcome, entry.service, entry.outcome_at) == (
        "J1",
        "accepted",
        "nhsa-3103-before",
        NOW,
    )


def test_carrying_on_with_a_reason_is_an_override() -> None:
    (entry,) = read_feedback(message({"warn_rslt_id": "J1", "dspo_way": 1, "dspo_way_rea": "病情需要"}), NOW)
    assert (entry.outcome, entry.comment) == ("overridden", "病情需要")


@pytest.mark.parametrize("reason", [None, "", "  ", "-"])
def test_carrying_on_without_a_reason_is_refused_by_the_name_of_the_warning(reason: str | None) -> None:
    good = {"warn_rslt_id": "J1", "dspo_way": "2"}
    with pytest.raises(FactsError, match="J2") as refused:
        read_feedback(message(good, {"warn_rslt_id": "J2", "dspo_way": "1", "dspo_way_rea": reason}), NOW)
    assert "dspo_way_rea" in str(refused.value)


def test_every_fault_is_named_at_once() -> None:
    with pytest.raises(FactsError) as refused:
        read_feedback(message({"dspo_way": "2"}, {"warn_rslt_id": "J2", "dspo_way": "9"}), NOW)
    assert "warns[0]" in str(refused.value)
    assert "warns[1]" in str(refused.value)


def test_a_retry_brings_the_same_entries_because_the_time_is_the_messages_own() -> None:
    body = message({"warn_rslt_id": "J1", "dspo_way": "2"}, inf_time="2026-03-01 09:00:00")
    later = NOW + dt.timedelta(minutes=5)
    assert read_feedback(body, NOW) == read_feedback(body, later)


def test_no_warnings_at_all_is_a_wrong_shape() -> None:
    with pytest.raises(ShapeError):
        read_feedback(message(), NOW)
