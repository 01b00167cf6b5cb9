"""Hold every adapter to one shape: the same files, and a manifest with the same keys."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import yaml

from engine.facts import COLLECTIONS, SINGLES

__all__ = ["INFRASTRUCTURE", "faults"]

INFRASTRUCTURE: Final = frozenset({"store", "releases", "gm_crypto", "identity"})
"""Folders under ``adapters/`` that speak to our own means (database, announcements, cryptography, identity),
not to a system of the hospital: they have no manifest."""

KEYS: Final = ("id", "title", "interface", "direction", "provides", "settings")
PARTS: Final = {
    "inbound": ("settings", "mapping"),
    "outbound": ("settings", "mapping", "client", "embedded"),
    "both": ("settings", "mapping", "client", "embedded"),
}
"""Which modules an adapter has: one that only answers needs no client and no embedded system."""


def faults(folder: Path) -> tuple[str, ...]:
    """Return one sentence for each way in which the adapter in ``folder`` departs from the shape."""
    found = [] if (folder / "__init__.py").exists() else [f"{folder.name}/__init__.py is missing."]
    path = folder / "manifest.yaml"
    if not path.exists():
        return (*found, f"{folder.name}/manifest.yaml is missing. `make new-adapter` shows one.")
    manifest = yaml.safe_load(path.read_text(encoding="utf-8"))
    if not isinstance(manifest, dict):
        return (*found, f"{folder.name}/manifest.yaml holds no mapping.")
    return (*found, *_of_manifest(folder.name, manifest), *_of_parts(folder, manifest))


def _of_manifest(name: str, manifest: dict[str, object]) -> list[str]:
    found = [f"{name}/manifest.yaml: `{key}` is missing." for key in KEYS if key not in manifest]
    if manifest.get("id") != name:
        found.append(f"{name}/manifest.yaml: id is {manifest.get('id')!r}. Write {name}.")
    title = manifest.get("title")
    if not (isinstance(title, dict) and title.get("zh") and title.get("en")):
        found.append(f"{name}/manifest.yaml: title needs a text under zh and under en.")
    if manifest.get("direction") not in PARTS:
        found.append(f"{name}/manifest.yaml: direction is none of {', '.join(PARTS)}.")
    provides = manifest.get("provides")
    known = {*SINGLES, *COLLECTIONS}
    unknown = sorted(set(map(str, provides)) - known) if isinstance(provides, list) else ["no list"]
    if unknown:
        found.append(
            f"{name}/manifest.yaml: provides {', '.join(unknown)}. Known: {', '.join(sorted(known))}."
        )
    return found


def _of_parts(folder: Path, manifest: dict[str, object]) -> list[str]:
    found = []
    stated = manifest.get("without")
    without = stated if isinstance(stated, dict) else {}
    for part in PARTS.get(str(manifest.get("direction")), ()):
        there = (folder / f"{part}.py").exists() or (folder / part / "__init__.py").exists()
        if there and part in without:
            found.append(f"{folder.name}/{part}.py exists, yet manifest.yaml names it under `without`.")
        if not there and not str(without.get(part) or "").strip():
            found.append(f"{folder.name}/{part}.py is missing; `without` in manifest.yaml gives no reason.")
    return found
