"""Share what every test may need, and name in the last lines whatever could not run."""

from __future__ import annotations

import socket
from collections.abc import Sequence

import pytest
from hypothesis import HealthCheck, settings

# A timing is never a test: a busy machine must not make a property fail.
settings.register_profile(
    "house", deadline=None, suppress_health_check=[HealthCheck.too_slow], print_blob=True
)
settings.load_profile("house")

_left_out: list[str] = []


@pytest.fixture
def anyio_backend() -> str:
    """Run every async test on asyncio, the loop that the service uses."""
    return "asyncio"


@pytest.fixture
def free_port() -> int:
    """Return a TCP port that was free on loopback a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def pytest_deselected(items: Sequence[pytest.Item]) -> None:
    """Remember the long tests that were left out; what ``-k`` leaves out is the caller's wish."""
    _left_out.extend(
        f"{item.nodeid} (long: make kill-test-long)" for item in items if "long" in item.keywords
    )


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say what did not run and why; silence would read as success."""
    skipped = [
        f"{report.nodeid}: {report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longrepr}"
        for report in terminalreporter.stats.get("skipped", ())
    ]
    for line in [*skipped, *_left_out]:
        terminalreporter.write_line(f"DID NOT RUN: {line}")
