"""Make entries for the store's tests; the databases come from tests/conftest.py."""

from __future__ import annotations

import contextlib
import datetime as dt
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from engine.ports import Entry


class WritingProcesses:
    """Processes that write, forked from one that has done the imports; see writing_process.py."""

    def __init__(self, url: str, verb: str, *rest: str) -> None:
        self._parent = subprocess.Popen(
            [sys.executable, str(Path(__file__).with_name("writing_process.py")), url, verb, *rest],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def start(self, count: int = 1) -> None:
        """Start so many at once."""
        assert self._parent.stdin is not None
        self._parent.stdin.write(f"{count}\n")
        self._parent.stdin.flush()

    def line(self) -> str:
        """Return the next line that one of them says."""
        assert self._parent.stdout is not None
        return self._parent.stdout.readline().strip()

    def until_ended(self) -> tuple[list[str], list[int]]:
        """Return what they say until all have ended, and their exit codes (minus the signal's number)."""
        said: list[str] = []
        while not (line := self.line()).startswith("ended"):
            if not line:
                assert self._parent.stderr is not None
                pytest.fail(f"the writing process is gone:\n{self._parent.stderr.read()[-2000:]}")
            if not line.startswith("pid"):
                said.append(line)
        return said, [int(code) for code in line.split()[1:]]

    def close(self) -> str:
        """End the one that starts the others; return what was written to stderr."""
        return self._parent.communicate(timeout=30)[1]


@pytest.fixture
def processes() -> Iterator[Callable[..., WritingProcesses]]:
    """Return what makes writing processes, and end them with the test."""
    with contextlib.ExitStack() as stack:

        def make(url: str, verb: str, *rest: str) -> WritingProcesses:
            made = WritingProcesses(url, verb, *rest)
            stack.callback(made.close)
            return made

        yield make


@pytest.fixture
def entry() -> Callable[..., Entry]:
    """Return what makes an entry; anything may be given instead of what it makes up."""

    def make(**given: object) -> Entry:
        identity = str(uuid.uuid4())
        values: dict[str, object] = {
            "id": identity,
            "key": f"key-{identity}",
            "request_digest": "sm3:request",
            "interface": "cds-hooks",
            "stage": "order_sign",
            "at": dt.datetime(2026, 3, 1, 0, 30, tzinfo=dt.timezone(dt.timedelta(hours=8))),
            "release": "sm3:release",
            "facts_digest": "sm3:facts",
            "status": "findings",
            "findings": 2,
            "not_checked": 1,
            "trace": '{"findings": ["华法林"]}'.encode(),
            "answer": identity.encode(),
            "cards": (f"card-{identity}", "b"),
            "patient": "p-1",
        }
        return Entry(**(values | given))  # type: ignore[arg-type]

    return make
