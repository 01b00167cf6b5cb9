"""Write the skeleton of an adapter: ``make new-adapter NAME=system``."""

from __future__ import annotations

import keyword
import re
import sys
from pathlib import Path

__all__ = ["write"]

ROOT = Path(__file__).parent.parent
SKELETON = Path(__file__).parent / "skeletons" / "adapter"
FILES = ("__init__.py", "manifest.yaml", "settings.py", "mapping.py", "client.py", "embedded.py")


def write(name: str, root: Path) -> tuple[Path, ...]:
    """Write ``adapters/<name>/`` and its first test below ``root``; return the new files.

    Nothing that exists is touched: an adapter that is already there is a :class:`ValueError`.
    """
    if not re.fullmatch(r"[a-z][a-z0-9_]*", name) or keyword.iskeyword(name):
        raise ValueError(
            f"{name!r} is no name of an adapter. Write NAME=system in lower-case ASCII, for example NAME=lab."
        )
    folder = root / "adapters" / name
    if folder.exists():
        raise ValueError(f"{folder} exists already. Choose another name, or edit the adapter that is there.")
    tests = root / "tests" / "adapters" / name
    folder.mkdir(parents=True)
    tests.mkdir(parents=True, exist_ok=True)
    targets = {file: folder / file for file in FILES} | {"test_mapping.py.txt": tests / "test_mapping.py"}
    for file, target in targets.items():
        text = (SKELETON / file).read_text(encoding="utf-8")
        text = text.replace("__SYSTEM_UPPER__", name.upper()).replace("__SYSTEM__", name)
        target.write_text(text, encoding="utf-8")
    return tuple(targets.values())


def main() -> None:
    """Write the adapter named on the command line; end with 1 and one clear line when that cannot be."""
    try:
        written = write(sys.argv[1] if len(sys.argv) > 1 else "", ROOT)
    except ValueError as error:
        sys.exit(f"new-adapter: {error}")
    for path in written:
        print(path.relative_to(ROOT))
    print("Then: one line in api/wire.py that hands it to its port, and `make test`.")


if __name__ == "__main__":
    main()
