"""Write what the service is made of (CycloneDX), and ask whether any of it is known to be vulnerable.

``python -m tools.sbom write FILE`` writes the bill of materials of the locked dependencies.
``python -m tools.sbom audit`` asks the advisory service by pip-audit: a known vulnerability fails; where the
service cannot be asked, one line says that nothing was audited, and nothing fails.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

__all__ = ["main", "verdict"]

LOCK = Path(__file__).resolve().parent.parent / "requirements.lock"
_SECONDS = 240


def main(arguments: Sequence[str]) -> int:
    """Run one verb; returns the exit code."""
    match list(arguments):
        case ["write", target]:
            return _write(Path(target))
        case ["audit"]:
            code, line = audit(LOCK)
            print(line)
            return code
    print("usage: python -m tools.sbom write FILE | audit", file=sys.stderr)
    return 2


def _write(target: Path) -> int:
    target.parent.mkdir(parents=True, exist_ok=True)
    command = [
        *(sys.executable, "-m", "cyclonedx_py", "requirements", str(LOCK)),
        *("--of", "JSON", "--sv", "1.6", "--output-reproducible", "-o", str(target)),
    ]
    done = subprocess.run(command, check=False)
    if done.returncode == 0:
        parts = json.loads(target.read_text())["components"]
        print(f"{target}: {len(parts)} components, CycloneDX 1.6")
    return done.returncode


def audit(lock: Path, environment: Mapping[str, str] = os.environ) -> tuple[int, str]:
    """Return (exit code, one line or more) of an audit of the locked dependencies."""
    with tempfile.TemporaryDirectory() as folder:
        command = [
            *(sys.executable, "-m", "pip_audit", "--requirement", str(lock), "--disable-pip", "--no-deps"),
            *("--progress-spinner", "off", "--format", "json", "--cache-dir", folder),
        ]
        try:
            done = subprocess.run(
                command, capture_output=True, text=True, timeout=_SECONDS, check=False, env=dict(environment)
            )
        except subprocess.TimeoutExpired:
            return 0, "COULD NOT RUN: pip-audit took too long; no dependency was audited."
    return verdict(done.stdout, done.stderr)


def verdict(written: str, complaint: str) -> tuple[int, str]:
    """Return (exit code, what to say) of what pip-audit wrote. Silence is never a pass."""
    try:
        dependencies = json.loads(written)["dependencies"]
    except (ValueError, KeyError, TypeError):
        last = (complaint.strip().splitlines() or ["it said nothing"])[-1][:200]
        return 0, f"COULD NOT RUN: pip-audit ({last}); no dependency was audited."
    skipped = [one["name"] for one in dependencies if "skip_reason" in one]
    asked = len(dependencies) - len(skipped)
    if asked == 0:
        return 0, "COULD NOT RUN: pip-audit reached no advisory service; no dependency was audited."
    faults = [
        f"   {one['name']} {one['version']}: {fault['id']}"
        + (f", mended in {', '.join(fault['fix_versions'])}" if fault.get("fix_versions") else ", not mended")
        for one in dependencies
        for fault in one.get("vulns", ())
    ]
    left = f"; COULD NOT AUDIT {len(skipped)}: {', '.join(skipped)[:200]}" if skipped else ""
    if faults:
        return 1, "\n".join([f"{len(faults)} known vulnerabilities in {asked} dependencies{left}", *faults])
    return 0, f"no known vulnerability in {asked} dependencies{left}"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
