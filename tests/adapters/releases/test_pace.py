"""Work that rests leaves the rest of the time to others."""

from __future__ import annotations

import time

from adapters.releases.pace import Pace


def test_a_quarter_share_rests_three_times_as_long_as_it_works() -> None:
    pace = Pace(0.25, slice_seconds=0.001)
    worked = 0.0
    began = time.perf_counter()
    while worked < 0.01:
        step = time.thread_time()
        while time.thread_time() - step < 0.0005:
            pass
        worked += time.thread_time() - step
        pace()
    # At least three times: a busy machine makes a rest longer, never shorter.
    assert time.perf_counter() - began >= worked * 3


def test_a_full_share_never_rests() -> None:
    pace = Pace(1.0, slice_seconds=0.0)
    for _ in range(1000):
        pace()
