"""What is shipped for operators: the unit is valid and hardened, the rest says what was not tried."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

DEPLOY = Path(__file__).parents[2] / "deploy"
UNIT = DEPLOY / "systemd" / "ruleward.service"


def analyze(*arguments: str) -> str:
    program = shutil.which("systemd-analyze")
    if program is None:
        pytest.fail("no systemd-analyze: `apt-get install systemd` (Debian)", pytrace=False)
    done = subprocess.run([program, *arguments], capture_output=True, text=True, check=False)
    return done.stdout + done.stderr


def test_the_unit_is_understood_in_every_line(tmp_path: Path) -> None:
    unit = tmp_path / UNIT.name  # whoever checks has no /opt/ruleward
    unit.write_text(re.sub(r"^ExecStart=\S+", "ExecStart=/bin/true", UNIT.read_text(), flags=re.MULTILINE))
    assert "ruleward.service" not in analyze("verify", str(unit))


def test_the_unit_is_among_the_least_exposed() -> None:
    told = analyze("security", "--offline=true", str(UNIT))
    rated = re.search(r"exposure level for ruleward\.service: ([\d.]+)", told)
    assert rated is not None
    assert float(rated[1]) <= 1.5  # of 10; a unit without hardening has 9.6


def test_a_drain_has_the_time_that_it_needs() -> None:
    from api import serve

    stop = re.search(r"^TimeoutStopSec=(\d+)$", UNIT.read_text(), re.MULTILINE)
    assert stop is not None
    assert int(stop[1]) > serve._GRACE_SECONDS + 5


def test_containers_have_no_more_rights_than_they_need() -> None:
    compose: dict[str, Any] = yaml.safe_load((DEPLOY / "compose" / "compose.yaml").read_text())
    services = compose["services"]
    assert [name for name, one in services.items() if one.get("ports")] == ["front"]
    for name, one in services.items():
        assert "no-new-privileges:true" in one["security_opt"], name
        assert not one.get("privileged"), name
        secrets = [key for key in one.get("environment", {}) if re.search("PASSWORD$|SECRET$|TOKEN$", key)]
        assert not secrets, name
    assert services["ruleward"]["read_only"]
    assert services["ruleward"]["cap_drop"] == ["ALL"]
    assert compose["networks"]["back"]["internal"]
    assert "\nUSER 10001" in (DEPLOY / "compose" / "Dockerfile").read_text()


@pytest.mark.parametrize("path", ["caddy/Caddyfile", "compose/Dockerfile", "compose/compose.yaml"])
def test_what_was_not_tried_says_so_at_its_top(path: str) -> None:
    assert "NOT TRIED" in "".join((DEPLOY / path).read_text().splitlines(keepends=True)[:2])
