"""Read NHSA 3103: what the user did with each warning; carrying on needs a reason."""

from __future__ import annotations

import datetime as dt

from adapters.insurance.reading import ShapeError, root
from engine.errors import FactsError
from engine.ports import FeedbackEntry

__all__ = ["read_feedback"]

_OUTCOMES = {"1": "overridden", "2": "accepted"}  # 继续执行医嘱 · 返回修改医嘱
_STAGES = {"1": "before", "2": "during"}


def read_feedback(message: object, now: dt.datetime) -> tuple[FeedbackEntry, ...]:
    """Read all warnings of a 3103 message; all or none of them is taken.

    The moment is the message's own ``inf_time``, so that a retry brings the same entries; ``now`` stands
    for it when it was not sent.

    Raises:
        ShapeError: ``warns`` is missing or no list of objects.
        FactsError: every warning that cannot be taken, by its place and ``warn_rslt_id``.
    """
    envelope = root(message)
    data = envelope.node("input").node("data")
    warns = data.nodes("warns")
    if not warns:
        raise ShapeError(data.at("warns"), "is missing or empty.")
    stated = envelope.moment("inf_time")
    at = now if stated is None else stated.replace(tzinfo=now.tzinfo)
    stage = _STAGES.get((data.text("warn_type") or "").lstrip("0"), "")
    entries: list[FeedbackEntry] = []
    faults: list[str] = []
    for position, warn in enumerate(warns):
        place = f"warns[{position}]"
        card = warn.text("warn_rslt_id")
        way = (warn.text("dspo_way") or "").lstrip("0")
        reason = warn.text("dspo_way_rea") or ""
        if card is None:
            faults.append(f"{place}.warn_rslt_id is missing")
        elif way not in _OUTCOMES:
            faults.append(f"{place}.dspo_way of {card[:50]} is neither 1 nor 2")
        elif way == "1" and not reason:
            faults.append(f"{place} ({card[:50]}): dspo_way 1 needs dspo_way_rea, the reason for carrying on")
        else:
            entries.append(
                FeedbackEntry(
                    service=f"nhsa-3103-{stage}" if stage else "nhsa-3103",
                    card=card,
                    outcome=_OUTCOMES[way],
                    outcome_at=at,
                    comment=reason,
                )
            )
    if faults:
        shown = "; ".join(faults[:10]) + (f"; and {len(faults) - 10} more" if len(faults) > 10 else "")
        raise FactsError("$.input.data.warns", f"{shown}.")
    return tuple(entries)
