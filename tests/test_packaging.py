"""The house stands as drawn: our folders are ours, the contracts hold, the wheel holds all of it."""

from __future__ import annotations

import configparser
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from importlinter.api import read_configuration
from importlinter.cli import lint_imports

from api.guard import PACKAGES, ROOT, ensure_ours, strangers
from tools import wheel as wheels

OURS = dict.fromkeys(PACKAGES, ("ruleward",))


def origins(root: Path) -> dict[str, str | None]:
    return {package: str(root / package / "__init__.py") for package in PACKAGES}


def test_every_top_level_package_is_ours_and_comes_from_this_checkout() -> None:
    ensure_ours()


def test_a_package_that_another_distribution_also_claims_is_named_with_its_repair() -> None:
    owners = {**OURS, "models": ("ruleward", "some-models")}
    (fault,) = strangers(owners, origins(ROOT), ROOT)
    assert "`models`" in fault
    assert "pip uninstall some-models" in fault


def test_a_package_imported_from_elsewhere_is_named_with_both_places() -> None:
    (fault,) = strangers(OURS, {**origins(ROOT), "adapters": "/elsewhere/adapters/__init__.py"}, ROOT)
    assert "/elsewhere/adapters/__init__.py" in fault
    assert str(ROOT / "adapters") in fault


def test_a_package_that_cannot_be_imported_is_a_fault() -> None:
    (fault,) = strangers(OURS, {**origins(ROOT), "rules": None}, ROOT)
    assert "`rules` cannot be imported" in fault


def test_a_checkout_that_is_not_installed_is_not_a_fault() -> None:
    assert strangers({}, origins(ROOT), ROOT) == ()


def test_the_import_contracts_hold(capsys: pytest.CaptureFixture[str]) -> None:
    assert len(read_configuration(str(ROOT / "setup.cfg"))["contracts_options"]) >= 4
    exit_code = lint_imports(config_filename=str(ROOT / "setup.cfg"), no_cache=True)
    assert exit_code == 0, capsys.readouterr().out


def test_the_contracts_forbid_the_engine_every_door_to_the_outside() -> None:
    declared = configparser.ConfigParser()
    declared.read(ROOT / "setup.cfg", encoding="utf-8")
    forbidden = set(declared["importlinter:contract:pure"]["forbidden_modules"].split())
    assert {"fastapi", "sqlalchemy", "redis", "httpx", "socket", "os", "pathlib"} <= forbidden


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return wheels.build(tmp_path_factory.mktemp("wheel"))


def test_the_wheel_holds_exactly_our_packages(wheel: Path) -> None:
    tops = {name.split("/")[0] for name in wheels.names(wheel) if ".dist-info/" not in name}
    assert tops == set(PACKAGES)


def test_the_wheel_holds_every_source_and_data_file(wheel: Path) -> None:
    source = wheel.parent / "source"  # what it was built from: the checkout may move on meanwhile
    needed = {
        path.relative_to(source).as_posix()
        for package in PACKAGES
        for pattern in ("*.py", "*.yaml", "*.csv", "*.json", "*.mako", "*.ini")
        for path in (source / package).rglob(pattern)
    }
    assert needed - wheels.names(wheel) == set()


def test_an_installed_wheel_passes_its_guard_finds_its_rules_and_answers_at_the_prompt(
    wheel: Path, tmp_path: Path
) -> None:
    target = tmp_path / "installed"
    install = [
        sys.executable,
        "-m",
        "pip",
        "install",
        "--quiet",
        "--no-deps",
        "--target",
        str(target),
        str(wheel),
    ]
    subprocess.run(install, check=True)
    program = "import api.guard, rules; api.guard.ensure_ours(); print(rules.FOLDER)"
    environment = {**os.environ, "PYTHONPATH": str(target)}
    for command in (["-c", program], ["-m", "api.cli", "--help"]):
        done = subprocess.run(
            [sys.executable, *command],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        assert str(target / "rules") in done.stdout or "usage: ruleward" in done.stdout


def test_the_wheel_brings_the_command_ruleward(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        (name,) = (name for name in archive.namelist() if name.endswith("entry_points.txt"))
        entry_points = configparser.ConfigParser()
        entry_points.read_string(archive.read(name).decode())
    assert dict(entry_points["console_scripts"]) == {"ruleward": "api.cli:main"}


def test_the_wheel_cannot_be_uploaded_by_mistake(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        (name,) = (name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
        metadata = archive.read(name).decode()
    assert "Classifier: Private :: Do Not Upload" in metadata
    assert "License: Apache-2.0" in metadata


def test_the_lock_names_every_dependency_and_no_host() -> None:
    declared = configparser.ConfigParser()
    declared.read(ROOT / "setup.cfg", encoding="utf-8")
    extras = "\n".join(declared["options.extras_require"].values())
    wanted = {
        line.split("[")[0].split("=")[0].split(">")[0].split("<")[0].strip().lower().replace("_", "-")
        for line in f"{declared['options']['install_requires']}\n{extras}".splitlines()
        if line.strip()
    }
    lock = (ROOT / "requirements.lock").read_text(encoding="utf-8")
    locked = {line.split("==")[0] for line in lock.splitlines() if "==" in line}
    assert wanted - locked == set()
    assert "://" not in lock
