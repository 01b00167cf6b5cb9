"""Count what the service does, for Prometheus; nothing here holds a patient's data."""

from __future__ import annotations

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
        self.release = Gauge(
            "ruleward_release_info", "The release in force here", ("release",), registry=self.registry
        )
        self.refused = Gauge(
            "ruleward_release_refused", "1 while a newer release is refused", registry=self.registry
        )
        self.ready = Gauge(
            "ruleward_ready",
            "1 while a release is in force and the log takes decisions",
            registry=self.registry,
        )

    def decided(self, interface: str, decision: Decision, seconds: float, *, recorded: bool) -> None:
        """Count one decision."""
        self._decisions.labels(interface, str(decision.status), str(recorded).lower()).inc()
        self._seconds.labels(interface).observe(seconds)
        for finding in decision.findings:
            self._findings.labels(finding.rule, str(finding.level)).inc()
        for finding in decision.shadow:
            self._shadow.labels(finding.rule).inc()
        for gap in decision.not_checked:
            self._gaps.labels(gap.rule, gap.missing[0] if gap.missing else "fault").inc()

    def text(self) -> bytes:
        """Return all of them in the text format."""
        return generate_latest(self.registry)
