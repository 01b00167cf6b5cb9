"""Count what the service does, for Prometheus; nothing here holds a patient's data."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from engine.decision import Decision

__all__ = ["Metrics"]

_BUCKETS = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1, 2, 5)


class Metrics:
    """The metrics of one worker. Fulfils ``api.deciding.Meter``."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._decisions = Counter(
            "ruleward_decisions_total",
            "Decisions by interface, status and whether they were recorded",
            ("interface", "status", "recorded"),
            registry=self.registry,
        )
        self._findings = Counter(
            "ruleward_findings_total", "Findings by rule and level", ("rule", "level"), registry=self.registry
        )
        self._shadow = Counter(
            "ruleward_shadow_findings_total", "Findings of rules in shadow", ("rule",), registry=self.registry
        )
        self._gaps = Counter(
            "ruleward_not_checked_total",
            "Checks that could not run, by rule and the first fact or fault in the way",
            ("rule", "missing"),
            registry=self.registry,
        )
        self._seconds = Histogram(
            "ruleward_decision_seconds",
            "Seconds from facts to a recorded decision",
            ("interface",),
            buckets=_BUCKETS,
            registry=self.registry,
        )
        self._release = Gauge(
            "ruleward_release_info", "The release in force here", ("release",), registry=self.registry
        )
        self._refused = Gauge(
            "ruleward_release_refused", "1 while a newer release is refused", registry=self.registry
        )
        self._ready = Gauge(
            "ruleward_ready",
            "1 while a release is in force and the log takes decisions",
            registry=self.registry,
        )
        self._load_seconds = Gauge(
            "ruleward_release_load_seconds", "Seconds that the last release took here", registry=self.registry
        )
        self._outside = Gauge(
            "ruleward_outside_left_alone",
            "1 while a system outside fails and nothing is sent to it",
            ("system",),
            registry=self.registry,
        )
        self._known: dict[tuple[str, ...], Any] = {}

    def decided(self, interface: str, decision: Decision, seconds: float, *, recorded: bool) -> None:
        """Count one decision."""
        self._child(self._decisions, interface, decision.status, "true" if recorded else "false").inc()
        self._child(self._seconds, interface).observe(seconds)
        for finding in decision.findings:
            self._child(self._findings, finding.rule, finding.level).inc()
        for finding in decision.shadow:
            self._child(self._shadow, finding.rule).inc()
        for gap in decision.not_checked:
            self._child(self._gaps, gap.rule, gap.missing[0] if gap.missing else "fault").inc()

    def stands(self, *, ready: bool, refused: bool, release: str, load_seconds: float) -> None:
        """Say how the worker stands."""
        self._ready.set(ready)
        self._refused.set(refused)
        self._load_seconds.set(load_seconds)
        self._release.clear()
        if release:
            self._release.labels(release).set(1)

    def reaches(self, outside: Mapping[str, bool]) -> None:
        """Say which systems outside are left alone."""
        for system, left_alone in outside.items():
            self._outside.labels(system).set(left_alone)

    def text(self) -> bytes:
        """Return all of them in the text format."""
        return generate_latest(self.registry)

    def _child(self, parent: Counter | Histogram, *labels: str) -> Any:
        """Return the series of these labels; looked up here, which costs a fifth of ``labels``."""
        key = (parent._name, *labels)
        found = self._known.get(key)
        if found is None:
            found = self._known[key] = parent.labels(*map(str, labels))
        return found
