"""The skeleton of an adapter is an adapter that works."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from tools.adapter_shape import faults
from tools.new_adapter import ROOT, write
from tools.skeletons.adapter.client import Client, Unreachable
from tools.skeletons.adapter.embedded import Embedded
from tools.skeletons.adapter.settings import Settings, read


def test_a_new_adapter_has_the_shape_of_all_adapters(tmp_path: Path) -> None:
    write("lab", tmp_path)
    assert faults(tmp_path / "adapters/lab") == ()


def test_no_placeholder_is_left_in_what_is_written(tmp_path: Path) -> None:
    texts = [path.read_text(encoding="utf-8") for path in write("lab", tmp_path)]
    assert not any("SYSTEM" in text for text in texts)


def test_the_first_test_of_a_new_adapter_passes(tmp_path: Path) -> None:
    write("lab", tmp_path)
    (tmp_path / "adapters/__init__.py").touch()
    command = [sys.executable, "-m", "pytest", "-q", "-c", os.devnull, "--rootdir", str(tmp_path)]
    done = subprocess.run(
        [*command, "tests/adapters/lab"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": f"{tmp_path}:{ROOT}"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout


def test_an_adapter_that_lacks_a_part_must_say_why(tmp_path: Path) -> None:
    write("lab", tmp_path)
    folder = tmp_path / "adapters/lab"
    (folder / "embedded.py").unlink()
    assert faults(folder) == ("lab/embedded.py is missing; `without` in manifest.yaml gives no reason.",)
    with (folder / "manifest.yaml").open("a", encoding="utf-8") as manifest:
        manifest.write('without: {embedded: "The caller sends everything."}\n')
    assert faults(folder) == ()


def test_an_adapter_that_exists_is_not_overwritten(tmp_path: Path) -> None:
    write("lab", tmp_path)
    with pytest.raises(ValueError, match="exists already"):
        write("lab", tmp_path)


@pytest.mark.parametrize("name", ["", "Lab", "../lab", "class", "la-b"])
def test_a_name_that_is_no_package_is_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no name of an adapter"):
        write(name, tmp_path)


async def test_the_client_and_the_embedded_system_answer_alike() -> None:
    def hospital(request: httpx.Request) -> httpx.Response:
        known = request.url.params["id"] == "p1"
        return httpx.Response(200, content=b'{"patientId": "p1"}') if known else httpx.Response(404)

    client = Client(Settings("http://hospital"), httpx.MockTransport(hospital))
    embedded = Embedded()
    embedded.put("p1", b'{"patientId": "p1"}')
    for patient in ("p1", "p2"):
        assert await client.fetch(patient) == await embedded.fetch(patient)
    await client.aclose()
    await embedded.aclose()


async def test_a_system_that_fails_is_unreachable_and_not_empty() -> None:
    client = Client(Settings("http://hospital"), httpx.MockTransport(lambda _: httpx.Response(500)))
    with pytest.raises(Unreachable):
        await client.fetch("p1")
    await client.aclose()


def test_a_setting_that_is_no_number_is_named() -> None:
    with pytest.raises(ValueError, match="TIMEOUT_SECONDS"):
        read({"RULEWARD___SYSTEM_UPPER___TIMEOUT_SECONDS": "soon"})
