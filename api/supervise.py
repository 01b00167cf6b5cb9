"""Keep worker processes running: start them, replace one that dies at once, stop them in good order.

Workers are forked from a server process that has the imports behind it, so that a new one serves within some
tenths of a second. Each has a listening socket of its own on the port (``SO_REUSEPORT``): the kernel deals
connections out evenly, where a shared socket gives them to whoever wakes first. The supervisor holds all of
them open, so what arrives while a worker is being replaced waits for the next one instead of being refused.
"""

from __future__ import annotations

import contextlib
import logging
import multiprocessing
import multiprocessing.connection
import signal
import socket
import time
from collections.abc import Iterator
from multiprocessing.context import ForkServerProcess
from types import FrameType

import uvicorn

__all__ = ["Supervisor", "listen"]

_LOG = logging.getLogger("ruleward.supervisor")
_BACKLOG = 2048
_BREATH_SECONDS = 1.0
"""A worker that lived shorter than this is replaced so much later, lest the machine only start workers."""


def listen(host: str, port: int, count: int) -> list[socket.socket]:
    """Return sockets that listen together on one port; ``port`` 0 takes a free one.

    Raises ``OSError`` when another program listens there.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as probe:  # without SO_REUSEPORT, so that it meets whoever is there
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind((host, port))
        port = probe.getsockname()[1]
    sockets: list[socket.socket] = []
    for _ in range(count):
        one = socket.socket(family)
        one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        one.bind((host, port))
        one.listen(_BACKLOG)  # now: what comes before a worker is there waits
        sockets.append(one)
    return sockets


class Supervisor:
    """Run ``count`` workers of one uvicorn configuration until SIGTERM or SIGINT."""

    def __init__(self, config: uvicorn.Config, sockets: list[socket.socket], grace_seconds: float) -> None:
        self._config, self._sockets, self._grace = config, sockets, grace_seconds
        self._context = multiprocessing.get_context("forkserver")
        self._context.set_forkserver_preload(["api.preload"])
        self._workers: dict[int, ForkServerProcess] = {}
        self._since: dict[int, float] = {}
        self._due: dict[int, float] = dict.fromkeys(range(len(sockets)), 0.0)
        self._stopping = False

    def run(self) -> None:
        """Supervise; returns when every worker has ended."""
        with _woken_by_signals(self._on_signal) as bell:
            while not self._stopping:
                self._start_due()
                sentinels = [worker.sentinel for worker in self._workers.values()]
                soonest = min(self._due.values(), default=None)
                timeout = None if soonest is None else max(0.0, soonest - time.monotonic())
                if bell in multiprocessing.connection.wait([bell, *sentinels], timeout):
                    bell.recv(4096)
                self._bury()
            self._stop_all()

    def _on_signal(self, number: int, _frame: FrameType | None) -> None:
        self._stopping = True
        _LOG.info("%s: draining", signal.Signals(number).name)

    def _start_due(self) -> None:
        for slot, due in list(self._due.items()):
            if due <= time.monotonic():
                del self._due[slot]
                worker = self._context.Process(
                    target=_work, args=(self._config, self._sockets[slot]), name=f"worker-{slot}"
                )
                worker.start()
                self._workers[slot], self._since[slot] = worker, time.monotonic()

    def _bury(self) -> None:
        for slot, worker in list(self._workers.items()):
            if worker.is_alive():
                continue
            worker.join()
            del self._workers[slot]
            lived = time.monotonic() - self._since[slot]
            self._due[slot] = time.monotonic() + (_BREATH_SECONDS if lived < _BREATH_SECONDS else 0.0)
            if not self._stopping:
                _LOG.error("worker %s ended with %s and is replaced", worker.pid, worker.exitcode)

    def _stop_all(self) -> None:
        for one in self._sockets:
            one.close()
        for worker in self._workers.values():
            worker.terminate()
        give_up = time.monotonic() + self._grace
        for worker in self._workers.values():
            worker.join(max(0.0, give_up - time.monotonic()))
            if worker.is_alive():
                _LOG.error("worker %s does not end and is killed", worker.pid)
                worker.kill()
                worker.join()


def _work(config: uvicorn.Config, one: socket.socket) -> None:
    config.configure_logging()
    uvicorn.Server(config).run(sockets=[one])


@contextlib.contextmanager
def _woken_by_signals(handler: signal._HANDLER) -> Iterator[socket.socket]:
    """Give a socket that gets readable at SIGTERM and SIGINT, after ``handler`` was called."""
    bell, hammer = socket.socketpair()
    hammer.setblocking(False)
    before = {number: signal.signal(number, handler) for number in (signal.SIGTERM, signal.SIGINT)}
    wakened = signal.set_wakeup_fd(hammer.fileno())
    try:
        yield bell
    finally:
        signal.set_wakeup_fd(wakened)
        for number, old in before.items():
            signal.signal(number, old)
        bell.close()
        hammer.close()
