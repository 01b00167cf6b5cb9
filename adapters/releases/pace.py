"""Work in slices with rests between them, so that requests in the same process come first."""

from __future__ import annotations

import time

__all__ = ["Pace"]


class Pace:
    """Sleep so long after each slice of work that work takes only its share of the time.

    Work is processor time of the calling thread, the only one that may call; waiting for the interpreter is
    rest enough. Calling it between small steps costs under a microsecond; ``share`` 1 never sleeps.
    """

    def __init__(self, share: float, slice_seconds: float = 0.001) -> None:
        self._slice, self._idle = slice_seconds, 1 / share - 1
        self._began = time.thread_time()

    def __call__(self) -> None:
        """Rest if a slice of work is over."""
        worked = time.thread_time() - self._began
        if worked >= self._slice and self._idle:
            time.sleep(worked * self._idle)
            self._began = time.thread_time()
