"""Build the wheel from a clean copy of the sources and say what is in it.

A copy, because setuptools leaves ``build/`` behind and would put files deleted since into the next wheel.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

__all__ = ["PACKAGES", "build", "names"]

ROOT = Path(__file__).parent.parent
PACKAGES = ("rules", "engine", "adapters", "models", "api")
DECLARATIONS = ("setup.cfg", "pyproject.toml", "README.md", "LICENSE")


def build(into: Path) -> Path:
    """Return the path of the wheel, built into the folder ``into`` with what this environment has."""
    source = into / "source"
    source.mkdir()
    for name in DECLARATIONS:
        shutil.copy(ROOT / name, source)
    for package in PACKAGES:
        shutil.copytree(ROOT / package, source / package, ignore=shutil.ignore_patterns("__pycache__", ".*"))
    command = [sys.executable, "-m", "pip", "wheel", str(source), "--no-deps", "--no-build-isolation"]
    done = subprocess.run([*command, "--wheel-dir", str(into)], capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"pip wheel failed:\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}")
    (wheel,) = into.glob("ruleward-*.whl")
    return wheel


def names(wheel: Path) -> frozenset[str]:
    """Return the names of all files in the wheel."""
    with zipfile.ZipFile(wheel) as archive:
        return frozenset(archive.namelist())


def main() -> None:
    """Build once into a temporary folder; print the size, end with 1 when it cannot be built."""
    with tempfile.TemporaryDirectory() as folder:
        wheel = build(Path(folder))
        print(f"{wheel.name}: {len(names(wheel))} files, {wheel.stat().st_size // 1024} KiB")


if __name__ == "__main__":
    main()
