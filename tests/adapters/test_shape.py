"""Adapters are of one shape, so that the thousandth is as easy to read as the first."""

from __future__ import annotations

from pathlib import Path

import pytest

import adapters
from tools.adapter_shape import INFRASTRUCTURE, faults

FOLDER = Path(adapters.__file__).parent
HOSPITAL_SYSTEMS = sorted(
    path.name
    for path in FOLDER.iterdir()
    if any(path.glob("*.py")) and path.name not in INFRASTRUCTURE and not path.name.startswith((".", "_"))
)


@pytest.mark.parametrize("system", HOSPITAL_SYSTEMS)
def test_an_adapter_has_the_files_and_the_manifest_of_all_adapters(system: str) -> None:
    assert faults(FOLDER / system) == ()


@pytest.mark.parametrize("name", sorted(INFRASTRUCTURE))
def test_our_own_infrastructure_has_no_manifest(name: str) -> None:
    assert not (FOLDER / name / "manifest.yaml").exists()
